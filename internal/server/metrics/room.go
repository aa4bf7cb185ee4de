package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gild-dev/gild/internal/api"
)

var (
	descMachines = prometheus.NewDesc("gild_machines", "Machines by state.", []string{"state"}, nil)
	descStuck    = prometheus.NewDesc("gild_machines_stuck", "Machines whose agent should speak and is silent.", nil, nil)
	descConflict = prometheus.NewDesc("gild_machines_in_conflict", "Machines whose place a second agent claims.", nil, nil)
	descTrouble  = prometheus.NewDesc("gild_machines_in_trouble",
		"Machines in trouble, by stable cause; those whose agents still retry are included.", []string{"cause"}, nil)
	descWaiting = prometheus.NewDesc("gild_machines_waiting", "Discovered machines whose agent waits for an arm.", nil, nil)
	descRate    = prometheus.NewDesc("gild_flash_data_bytes_per_second",
		"Bytes of data a second of all flashes under way, written or read back; zeros do not count.", nil, nil)
	descWire = prometheus.NewDesc("gild_flash_wire_bytes_per_second", "Bytes a second that all flashes under way fetch, compressed.", nil,
		nil)
)

// room reads the gauges of machines at each scrape.
type room struct {
	machines func(context.Context) ([]api.Machine, error)
}

// Describe implements prometheus.Collector.
func (r *room) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descMachines, descStuck, descConflict, descTrouble, descWaiting, descRate, descWire} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (r *room) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	machines, err := r.machines(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(descMachines, err)
		return
	}
	by := map[string]float64{}
	// A state in which there is no machine is told as 0 and not as absent.
	for _, s := range api.MachineStates {
		by[s] = 0
	}
	troubled := map[string]float64{}
	var stuck, conflict, waiting, rate, wire float64
	for i := range machines {
		m := &machines[i]
		by[m.State]++
		if tr := m.Trouble; tr != nil {
			troubled[word(api.Causes, tr.Cause)]++
		}
		count(&stuck, !m.Stuck.IsZero())
		count(&conflict, m.Conflict != "")
		count(&waiting, m.Waiting)
		if e := m.Estimate; e != nil {
			rate, wire = rate+e.Rate, wire+e.WireRate
		}
	}
	for state, n := range by {
		to <- prometheus.MustNewConstMetric(descMachines, prometheus.GaugeValue, n, state)
	}
	for cause, n := range troubled {
		to <- prometheus.MustNewConstMetric(descTrouble, prometheus.GaugeValue, n, cause)
	}
	for desc, n := range map[*prometheus.Desc]float64{
		descStuck: stuck, descConflict: conflict, descWaiting: waiting, descRate: rate,
		descWire: wire,
	} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, n)
	}
}

func count(n *float64, yes bool) {
	if yes {
		*n++
	}
}
