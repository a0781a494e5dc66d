package bench

// cases are all that is measured, in order: each ceiling before what is a ratio of it.
func cases() []Case {
	list := []Case{bareProduce(), ingestUnary(), ingestBatch(), ingestStream(), match(), barePost(), bareFed(), drain()}
	list = append(list, whole()...)
	list = append(list, bareHop())
	list = append(list, latencies()...)
	return append(list, isolation(), memory(), startUp())
}
