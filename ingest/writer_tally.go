package ingest

// tally counts a block's events by company and result.
type tally struct {
	counts map[tallyKey]int
	strays int // records that are no events, so of no company that could be told
}

type tallyKey struct {
	company uint32
	result  string
}

func newTally() *tally { return &tally{counts: map[tallyKey]int{}} }

func (t *tally) add(company uint32, result string) { t.counts[tallyKey{company, result}]++ }

// each calls fn for every company and result; company 0 is that of records that are no events.
func (t *tally) each(fn func(company uint32, result string, n int)) {
	for k, n := range t.counts {
		fn(k.company, k.result, n)
	}
	if t.strays > 0 {
		fn(0, WriterSetAside, t.strays)
	}
}

func (t *tally) sums() map[string]int {
	sum := map[string]int{}
	for k, n := range t.counts {
		sum[k.result] += n
	}
	return sum
}
