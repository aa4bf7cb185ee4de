package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/gild-dev/gild/internal/api"
)

var descAlarm = prometheus.NewDesc("gild_alarm",
	"1 while something is wrong with this server: its interface, its address, DHCP, another DHCP server, a machine with a card that "+
		"is not supported, its memory, the image to discover machines with.", []string{"kind"}, nil)

// alarms reads which alarms are raised at each scrape; every kind is told, so
// that an absence is none.
type alarms func() []api.Alarm

// Describe implements prometheus.Collector.
func (a alarms) Describe(to chan<- *prometheus.Desc) { to <- descAlarm }

// Collect implements prometheus.Collector.
func (a alarms) Collect(to chan<- prometheus.Metric) {
	raised := map[string]float64{
		api.AlarmInterface: 0, api.AlarmAddress: 0, api.AlarmDHCP: 0, api.AlarmOtherDHCP: 0, api.AlarmInfiniBand: 0,
		api.AlarmMemory: 0, api.AlarmDiscover: 0,
	}
	for _, alarm := range a() {
		raised[alarm.Kind] = 1
	}
	for kind, v := range raised {
		to <- prometheus.MustNewConstMetric(descAlarm, prometheus.GaugeValue, v, kind)
	}
}
