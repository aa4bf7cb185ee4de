// Package metrics is what a monitoring system reads of a server, in the
// exposition format of Prometheus.
//
// Gauges of machines are read from the records when they are asked for, so
// every server of a cluster tells the same. Counters are of what this server
// did: they add up over the servers of a cluster.
package metrics

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gild-dev/gild/internal/api"
	"github.com/gild-dev/gild/internal/server/dhcpd"
	"github.com/gild-dev/gild/internal/server/tftpd"
)

// readWithin bounds reading the records for one scrape.
const readWithin = 5 * time.Second

// Metrics counts what a server does. It is safe for concurrent use; a nil
// one counts nothing.
type Metrics struct {
	registry *prometheus.Registry

	transitions *prometheus.CounterVec
	failures    *prometheus.CounterVec
	phases      *prometheus.HistogramVec
	bytes       *prometheus.CounterVec
	dhcp        *prometheus.CounterVec
	tftp        *prometheus.CounterVec
	tftpBytes   prometheus.Counter
	tftpResent  prometheus.Counter
	requests    *prometheus.CounterVec
	sent        *prometheus.CounterVec
	took        *prometheus.HistogramVec
	underway    *prometheus.GaugeVec
	shed        *prometheus.CounterVec
	strangers   *prometheus.CounterVec
	unrecorded  prometheus.Counter
}

// New makes the metrics of a server of a version. machines gives the records
// as they are; an error from it fails the scrape of their gauges only.
func New(version string, machines func(context.Context) ([]api.Machine, error)) *Metrics {
	m := &Metrics{
		registry:    prometheus.NewRegistry(),
		transitions: counters("gild_transitions_total", "States that machines entered.", "state", "actor"),
		failures:    counters("gild_failures_total", "Failures that machines or the server reported, by stable cause.", "cause"),
		phases: histogram("gild_flash_phase_seconds", "Time of each phase of flashes that ended well.",
			[]float64{.1, .3, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600}, "phase"),
		bytes:     counters("gild_flash_bytes_total", "Bytes of flashes that ended well: written to disks, zeroed, kept, fetched.", "kind"),
		dhcp:      counters("gild_dhcp_packets_total", "DHCP packets that asked, and how they were answered.", "client", "asked", "answer"),
		tftp:      counters("gild_tftp_transfers_total", "TFTP requests by how they ended.", "outcome"),
		tftpBytes: prometheus.NewCounter(prometheus.CounterOpts{Name: "gild_tftp_bytes_total", Help: "Bytes that TFTP clients acknowledged."}),
		tftpResent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gild_tftp_resent_total",
			Help: "TFTP packets that were sent more than once.",
		}),
		requests: counters("gild_http_requests_total", "HTTP requests answered.", "listener", "route", "code"),
		sent:     counters("gild_http_sent_bytes_total", "Bytes of HTTP bodies sent.", "listener", "route"),
		took: histogram("gild_http_request_seconds", "Time from request to the end of the answer.",
			[]float64{.001, .003, .01, .03, .1, .3, 1, 3, 10, 30, 100}, "listener", "route"),
		underway: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "gild_http_requests_underway", Help: "HTTP requests being answered now."},
			[]string{"listener"}),
		strangers: counters("gild_strangers_total", "Unregistered machines: recorded, refused for lack of room, forgotten.", "outcome"),
		unrecorded: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "gild_boots_unrecorded_total",
			Help: "Machines that are not armed and booted their disks although their record could not be changed.",
		}),
		shed: counters("gild_http_connections_shed_total", "HTTP connections closed to make room for others.", "listener"),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gild_build_info", Help: "Always 1.",
		ConstLabels: prometheus.Labels{"version": version},
	})
	build.Set(1)
	for _, cause := range append([]string{"none", "other"}, api.Causes...) {
		m.failures.WithLabelValues(cause) // an increase is seen from the first one on
	}
	m.registry.MustRegister(m.transitions, m.failures, m.phases, m.bytes, m.dhcp, m.tftp, m.tftpBytes, m.tftpResent,
		m.requests, m.sent, m.took, m.underway, m.shed, m.strangers, m.unrecorded, build, &room{machines},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		// The server's own figures are worth having when the records cannot be read.
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 2 * readWithin,
	})
}

// Event counts an event that this server has kept of a machine.
func (m *Metrics) Event(e api.Event) {
	if m == nil {
		return
	}
	if e.To != "" {
		m.transitions.WithLabelValues(e.To, e.Actor).Inc()
	}
	if e.State == api.StateFailed {
		m.failures.WithLabelValues(word(api.Causes, e.Cause)).Inc()
	}
	r := e.Receipt
	if r == nil {
		return
	}
	for phase, seconds := range r.PhaseTimes {
		m.phases.WithLabelValues(word(api.Phases, phase)).Observe(seconds)
	}
	for kind, n := range map[string]int64{"written": r.Written, "zeroed": r.Zeroed, "kept": r.Kept, "wire": r.Wire} {
		m.bytes.WithLabelValues(kind).Add(float64(max(n, 0)))
	}
}

// Stranger counts what became of a machine that nobody has registered.
func (m *Metrics) Stranger(outcome string) {
	if m != nil {
		m.strangers.WithLabelValues(outcome).Inc()
	}
}

// Unrecorded counts a machine that booted its disk although its record could
// not be changed.
func (m *Metrics) Unrecorded() {
	if m != nil {
		m.unrecorded.Inc()
	}
}

// DHCP counts a packet.
func (m *Metrics) DHCP(e dhcpd.Event) {
	if m == nil {
		return
	}
	m.dhcp.WithLabelValues(e.Client.String(), word(asked, e.Asked.String()), e.Answer.String()).Inc()
}

// TFTP counts a transfer.
func (m *Metrics) TFTP(e tftpd.Event) {
	if m == nil {
		return
	}
	m.tftp.WithLabelValues(e.Outcome.String()).Inc()
	m.tftpBytes.Add(float64(max(e.Acked, 0)))
	m.tftpResent.Add(float64(max(e.Resent, 0)))
}

// HTTP counts the requests of a listener by the pattern of the route that
// answered, never by the path, which a client makes up.
func (m *Metrics) HTTP(listener string, next http.Handler) http.Handler {
	underway := m.underway.WithLabelValues(listener)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		underway.Inc()
		defer underway.Dec()
		start := time.Now()
		rec := &recorder{ResponseWriter: w, code: http.StatusOK}
		defer func() {
			route := r.Pattern
			if route == "" {
				route = "none"
			}
			m.requests.WithLabelValues(listener, route, strconv.Itoa(rec.code)).Inc()
			m.sent.WithLabelValues(listener, route).Add(float64(rec.sent))
			m.took.WithLabelValues(listener, route).Observe(time.Since(start).Seconds())
		}()
		next.ServeHTTP(rec, r)
	})
}

// Connections tells how many connections a listener has, and returns what is
// to be called for each that was closed to make room.
func (m *Metrics) Connections(listener string, open func() int) (shed func()) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "gild_http_connections", Help: "HTTP connections that are open.", ConstLabels: prometheus.Labels{"listener": listener},
	}, func() float64 { return float64(open()) }))
	return m.shed.WithLabelValues(listener).Inc
}

// State reads at each scrape how full the database is.
func (m *Metrics) State(usage func(context.Context) (api.StateUsage, error)) {
	m.registry.MustRegister(&stateUsage{usage})
}

// Alarms reads at each scrape what is wrong with this server, by the kinds of
// api.
func (m *Metrics) Alarms(raised func() []api.Alarm) {
	m.registry.MustRegister(alarms(raised))
}

// word keeps the values of a label that come from machines to those that gild
// knows: what a machine makes up is "other", and takes no real one's place.
func word(known []string, w string) string {
	switch {
	case w == "":
		return "none"
	case slices.Contains(known, w):
		return w
	}
	return "other"
}

// asked are the kinds of DHCP packets that clients send (RFC 2132, 9.6).
var asked = []string{
	dhcpv4.MessageTypeDiscover.String(), dhcpv4.MessageTypeRequest.String(), dhcpv4.MessageTypeInform.String(),
	dhcpv4.MessageTypeDecline.String(), dhcpv4.MessageTypeRelease.String(),
}
