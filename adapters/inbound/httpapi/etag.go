package httpapi

// etag.go: revisions as entity tags (RFC 9110, sections 8.8.3 and 13.1).

import (
	"fmt"
	"strings"

	"github.com/marketprism/prism/core"
)

func etag(rev core.Revision) string { return `"` + rev.String() + `"` }

// ifMatch reads the header If-Match. The zero revision means that there is no condition;
// "*" is none either, as what it is used on must exist anyway. A tag that this API never gave
// matches nothing.
func ifMatch(header string) (core.Revision, error) {
	tag := strings.TrimSpace(header)
	if tag == "" || tag == "*" {
		return core.Revision{}, nil
	}
	if strings.Contains(tag, ",") {
		return core.Revision{}, core.Invalid("If-Match", header, "use one ETag, or *")
	}
	rev, err := core.ParseRevision(strings.Trim(tag, `"`))
	if err != nil || rev.IsZero() {
		return core.Revision{}, fmt.Errorf("%w: If-Match: %s is not the ETag of this instance", core.ErrPreconditionFailed, tag)
	}
	return rev, nil
}

// noneMatch reports whether If-None-Match names a tag, so that 304 is the answer.
func noneMatch(header, tag string) bool {
	if header == "" {
		return false
	}
	tag = strings.TrimPrefix(tag, "W/")
	for t := range strings.SplitSeq(header, ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}
