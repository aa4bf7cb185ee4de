package metrics

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gild-dev/gild/internal/api"
)

var (
	descStateSize  = prometheus.NewDesc("gild_state_bytes", "Size of the state database's file.", nil, nil)
	descStateInUse = prometheus.NewDesc("gild_state_in_use_bytes", "Bytes of the state database that hold something.", nil, nil)
	descStateQuota = prometheus.NewDesc("gild_state_quota_bytes", "Size that the state database must not reach; 0: not known.", nil, nil)
	descStateFull  = prometheus.NewDesc("gild_state_full", "1 while the state database takes no changes for want of room.", nil, nil)
)

// stateUsage reads the gauges of the database at each scrape.
type stateUsage struct {
	usage func(context.Context) (api.StateUsage, error)
}

// Describe implements prometheus.Collector.
func (s *stateUsage) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descStateSize, descStateInUse, descStateQuota, descStateFull} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (s *stateUsage) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	u, err := s.usage(ctx)
	if err != nil {
		to <- prometheus.NewInvalidMetric(descStateSize, err)
		return
	}
	var full float64
	count(&full, u.Full)
	for desc, v := range map[*prometheus.Desc]float64{
		descStateSize: float64(u.Size), descStateInUse: float64(u.InUse), descStateQuota: float64(u.Quota), descStateFull: full,
	} {
		to <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v)
	}
}
