package e2e

import (
	"crypto/rand"
	"encoding/base64"
	"net/url"
)

// plants is everything that the suite puts into a Doorstep. What is generated in the course of it is added by know.
type plants struct {
	values    []planted
	ofWebhook []permit // where what a webhook holds in secret may be

	platformKey                                  string
	redisPassword, sqlPassword, smtpPassword     string
	sealingKey                                   string // base64
	collectorKey                                 string // in a header to the collector of spans
	signingSecret                                string // whsec_..., given at registration
	bearer, apiKey, innocent, basicUser, basicPW string // header values, of which the first is without its scheme
	urlPath, urlQuery                            string
	refusedUserinfo                              string
	wrongKey, wrongSession, wrongSecret          string
	misuse                                       string // in bodies and parameters that are refused
	badData                                      string // in the data of events that are refused
	data, attribute, reference                   string // of events
	echoed                                       string // in the data of events whose receivers repeat them
	judged                                       string // in the data of events at which a condition fails
	broken                                       string // in a record that nobody can read
	condition, metadata, name                    string // of a webhook
	email                                        string // local part of an administrator's address
}

// The kinds of places. A topic is named without the prefix, a column as table/column, a route with dots for slashes.
const (
	lanes         = "topic/deliveries | topic/deliveries.1s | topic/deliveries.2s | topic/deliveries.3s | topic/deliveries.parked | topic/deliveries.parked.5m | topic/deliveries.suspended"
	theLog        = "file/log*" // the embedded log's own files, of all topics
	historyFile   = "file/history.db*"
	consoleFile   = "file/doorstep.db*"
	webhookAnswer = "answer/POST webhooks | answer/GET webhooks.{id} | answer/PATCH webhooks.{id} | answer/POST webhooks.{id}.*"
	webhookStores = "topic/webhooks | sql/webhooks/* | " + consoleFile + " | " + theLog
)

// random is 26 letters and digits, 128 bits.
func random() string { return rand.Text() }

// withOdd is random text with characters that are escaped somewhere.
func withOdd() string { return random() + `"<&/+=\` }

// plan makes the values and says where each may be. sealed: a sealing key is configured.
func plan(sealed bool) *plants {
	var secret, sealing, session [32]byte
	for _, b := range [][]byte{secret[:], sealing[:], session[:]} {
		_, _ = rand.Read(b) // never errs
	}
	p := &plants{
		platformKey: "dsk_" + random(), redisPassword: "pw" + random(), sqlPassword: "pw" + random(), smtpPassword: "pw" + random(), collectorKey: random(),
		sealingKey: base64.StdEncoding.EncodeToString(sealing[:]), signingSecret: "whsec_" + base64.StdEncoding.EncodeToString(secret[:]),
		bearer: withOdd(), apiKey: withOdd(), innocent: withOdd(), basicUser: "user" + random(), basicPW: "pw:" + random(),
		urlPath: random(), urlQuery: random(), refusedUserinfo: random(),
		wrongKey: "dsk_" + random(), wrongSession: base64.RawURLEncoding.EncodeToString(session[:]), wrongSecret: random(), misuse: random(), badData: random(),
		data: random(), attribute: random(), reference: random(), echoed: random(), judged: random(), broken: random(),
		condition: random(), metadata: random(), name: random(), email: "boss-" + random(),
	}
	// What a webhook holds in secret is told to a key that may change webhooks, and to nobody else.
	p.ofWebhook = []permit{{webhookAnswer, "told when it is made, and to a key that may change the webhook"}}
	if !sealed {
		p.ofWebhook = append(p.ofWebhook, permit{webhookStores, "plain, without a sealing key"})
	}
	p.know("platform key", p.platformKey)
	p.know("Redis password", p.redisPassword)
	p.know("PostgreSQL password", p.sqlPassword)
	p.know("SMTP password", p.smtpPassword)
	p.know("collector's key", p.collectorKey)
	p.know("sealing key", string(sealing[:]))
	p.know("signing secret", string(secret[:]), p.ofWebhook...)
	p.know("Authorization: Bearer", p.bearer[:26], p.ofWebhook...)
	p.know("X-Api-Key", p.apiKey[:26], p.ofWebhook...)
	p.know("innocent header", p.innocent[:26], p.ofWebhook...)
	p.know("Authorization: Basic", p.basicPW, p.ofWebhook...)

	url := permit{webhookAnswer + " | answer/GET webhooks | read-only/webhooks.{id}", "the URL is shown to who may read webhooks"}
	for name, token := range map[string]string{"token in the path": p.urlPath, "token in the query": p.urlQuery} {
		told := permit{"sql/audit_log/before | sql/audit_log/after | answer/GET audit-log", "the audit log tells of a URL, but for its query"}
		if token == p.urlQuery {
			told = permit{}
		}
		p.know(name, token, url, told, permit{webhookStores, "where webhooks are kept"},
			permit{"sql/idempotency_keys/answer", "the answer to its creation, for a day"},
			permit{"topic/attempts | sql/attempts/detail | " + historyFile, "an attempt says where it went"},
			permit{"answer/GET deliveries.{id} | answer/GET attempts.tail | page/GET webhooks.{id}", "attempts, and the webhook's page, show it"})
	}
	for name, value := range map[string]string{
		"userinfo in a refused URL": p.refusedUserinfo, "wrong key": p.wrongKey, "wrong session": p.wrongSession,
		"wrong secret": p.wrongSecret, "data of a refused event": p.badData,
	} {
		p.know(name, value)
	}
	p.know("misuse", p.misuse, permit{"refusal/* | grpc/* | page/*", "who misuses it is told what of it, and nobody else is"})
	payload := permit{"topic/events | " + lanes + " | " + theLog, "Kafka is where payloads are kept"}
	read := permit{"answer/GET events.{id} | answer/GET deliveries.{id}.payload", "read from the log, for who may read deliveries"}
	p.know("data", p.data, payload, read)
	p.know("attribute", p.attribute, payload, permit{"answer/GET events.{id} | answer/GET deliveries.{id}.payload", "an event is shown whole, and some payloads have its attributes"})
	p.know("data that a receiver repeats", p.echoed, payload, read,
		permit{"topic/attempts | sql/attempts/detail | " + historyFile, "the first bytes of an answer are kept, as they are"},
		permit{"answer/GET deliveries.{id} | answer/GET attempts.tail", "and shown"})
	p.know("data at which a condition fails", p.judged, payload, read)
	p.know("a record that nobody can read", p.broken, permit{"topic/events | topic/quarantine | " + theLog, "kept whole, to be looked at"})
	p.know("external reference", p.reference, payload,
		permit{"sql/*/external_reference | " + historyFile, "the history is searched by it"},
		permit{"topic/attempts | sql/attempts/detail", "not a secret: part of what an attempt is about"},
		permit{"answer/GET events | answer/GET events.{id} | answer/GET deliveries | answer/GET deliveries.{id} | answer/GET deliveries.{id}.payload | answer/GET attempts.tail | page/GET webhooks.{id}", "shown"})
	mine := permit{webhookAnswer + " | answer/GET webhooks | read-only/webhooks.{id} | page/GET webhooks.{id} | " + webhookStores, "part of a webhook"}
	changes := permit{"sql/audit_log/before | sql/audit_log/after | answer/GET audit-log | sql/idempotency_keys/answer", "what was changed, and what was answered"}
	p.know("condition", p.condition, mine, changes)
	p.know("metadata", p.metadata, mine, changes)
	p.know("name of a webhook", p.name, mine, changes, permit{"page/GET webhooks", "listed"},
		permit{"mail | topic/notices | sql/notices/mail_* | " + historyFile + " | answer/GET mails | answer/GET mails.{id}", "mails say which webhook they are about"})
	p.know("administrator's address", p.email,
		permit{"mail | topic/settings | topic/notices | sql/administrators/* | sql/notices/mail_* | " + theLog + " | " + consoleFile + " | " + historyFile, "where mails go"},
		permit{"sql/idempotency_keys/answer", "the answer to its making, for a day"},
		permit{"answer/* administrators* | answer/GET mails | answer/GET mails.{id}", "shown to a key with the scope admin"})
	return p
}

// know adds a value.
func (p *plants) know(name, core string, may ...permit) {
	p.values = append(p.values, planted{name: name, core: core, may: may})
}

// headers are the custom headers of the webhook that has one of each kind.
func (p *plants) headers() map[string]string {
	return map[string]string{"Authorization": "Bearer " + p.bearer, "X-Api-Key": p.apiKey, "X-Team-Number": p.innocent}
}

// basic is the header of a webhook that signs in by user and password.
func (p *plants) basic() map[string]string {
	return map[string]string{"Authorization": "Basic " + base64.StdEncoding.EncodeToString([]byte(p.basicUser+":"+p.basicPW))}
}

// target is base with the tokens that are part of many receivers' URLs.
func (p *plants) target(base, path string) string {
	return base + path + "/" + p.urlPath + "?" + url.Values{"token": {p.urlQuery}}.Encode()
}
