package conformance
var damageCases = []scenario{}
var outageCases = []scenario{}
