package wire_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"millrace/pkg/wire"
)

func TestStagesOfOneProcessShareMetrics(t *testing.T) {
	t.Parallel()
	r := prometheus.NewRegistry()
	for _, stage := range []string{"normalizer", "enricher"} {
		m, err := wire.NewMetrics(stage, r)
		if err != nil {
			t.Fatal(err)
		}
		m.Refused(wire.ReasonNoID, 2)
		m.Delay(time.Unix(10, 0), time.Unix(11, 0))
	}
	const want = `
# HELP millrace_dead_letters_total Records that were refused, by reason; counted once their dead letter is committed.
# TYPE millrace_dead_letters_total counter
millrace_dead_letters_total{reason="no_id",stage="enricher"} 2
millrace_dead_letters_total{reason="no_id",stage="normalizer"} 2
`
	if err := testutil.GatherAndCompare(r, strings.NewReader(want), "millrace_dead_letters_total"); err != nil {
		t.Error(err)
	}
}
