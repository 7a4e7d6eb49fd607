package conformance
var damageCases = []scenario{}
var domainCases = []scenario{}
var outageCases = []scenario{}
