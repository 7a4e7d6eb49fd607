package main

// reload.go: a changed configuration and a host that runs.

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/marketprism/prism"
	"github.com/marketprism/prism/adapters/config"
)

// reloader takes over what a running host can.
type reloader struct {
	load    func() (*config.Loaded, error)
	current *config.Loaded
	level   *slog.LevelVar
	host    *host
}

// reload reads the configuration again. One that is wrong changes nothing.
func (r *reloader) reload() {
	log := r.host.log
	next, err := r.load()
	if err == nil {
		err = next.Validate()
	}
	if err != nil {
		log.Error("the configuration was not reloaded; the host goes on with the one before", slog.Any("error", err))
		return
	}
	logNotices(log, next)
	taken, later := r.sort(next.Config)
	// What is not taken over stays as it was, so that the next reload names it again.
	merged := *r.current
	merged.Config.Logging.Level, merged.Config.Services = next.Config.Logging.Level, next.Config.Services
	merged.Config.HealthCheckInterval, merged.Config.LoadBalancing = next.Config.HealthCheckInterval, next.Config.LoadBalancing
	if err := r.takeOver(&merged); err != nil {
		log.Error("the configuration was not reloaded; the host goes on with the one before", slog.Any("error", err))
		return
	}
	r.current = &merged
	r.level.Set(merged.Config.Logging.SlogLevel())
	r.host.own.want(registrationsOf(merged.Config))
	atAnyLevel(log, slog.LevelInfo, "the configuration was reloaded", slog.Any("in_force", taken))
	if len(later) > 0 {
		atAnyLevel(log, slog.LevelWarn, "some changes need a restart of the host", slog.Any("keys", later))
	}
}

// atAnyLevel logs what somebody waits for, whatever level is set: the answer to a signal.
func atAnyLevel(log *slog.Logger, level slog.Level, message string, attrs ...slog.Attr) {
	r := slog.NewRecord(time.Now(), level, message, 0)
	r.AddAttrs(attrs...)
	_ = log.Handler().Handle(context.Background(), r) // a log that cannot be written has no place to say so
}

// takeOver hands balancing and the defaults of registrations to the running client.
func (r *reloader) takeOver(merged *config.Loaded) error {
	embedded := prism.ConfigOf(merged)
	embedded.NoChecks = true // the prober stays
	opts, err := embedded.Options()
	if err != nil {
		return err
	}
	return r.host.client.Reload(opts...)
}

// sort tells the changes that this host takes over from those that need a restart: TLS and
// authentication, as long as there is neither.
func (r *reloader) sort(next config.Config) (taken, later []string) {
	reloadable, later := config.Diff(r.current.Config, next)
	for _, key := range reloadable {
		if strings.HasPrefix(key, "security.") {
			later = append(later, key)
		} else {
			taken = append(taken, key)
		}
	}
	return taken, later
}
