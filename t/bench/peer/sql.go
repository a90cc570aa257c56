// sql.go: the peer's two ways to do the work in PostgreSQL: a transaction with a
// statement a step, and one call of the gateway's own statement.
package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// ---- MODE=seq

type rule struct {
	rule int
	to   string
}

// (from, event) -> rule, as the gateway's own table has it for hand-driven cases.
var fsm = map[[2]string]rule{
	{"NEW", "start_analysis"}:    {110, "ANALYZING"},
	{"NEW", "force_park"}:        {190, "PARKED"},
	{"ANALYZING", "force_park"}:  {290, "PARKED"},
	{"PARKED", "start_analysis"}: {710, "ANALYZING"},
	{"PARKED", "resume"}:         {720, "PLANNING"},
	{"PLANNING", "force_park"}:   {390, "PARKED"},
}

var command = map[string]string{"ANALYZING": "cmd.analyze.run", "PLANNING": "cmd.plan.generate"}

const (
	qKey = `SELECT hash, status, code, version, body, extra FROM aegis.idempotency
		WHERE tenant = $1 AND principal = $2 AND key = $3 AND day >= ((now() - interval '24 hours') AT TIME ZONE 'UTC')::date`
	qLock   = `SELECT status, version, mode FROM aegis.ops_case WHERE tenant = $1 AND case_id = $2 FOR NO KEY UPDATE`
	qUpdate = `UPDATE aegis.ops_case c SET status = $3, version = version + 1, updated_at = now(), reason = $4,
		nudges = 0, nudged_at = NULL WHERE tenant = $1 AND case_id = $2 RETURNING updated_at, aegis.case_text(c)`
	qCreate = `INSERT INTO aegis.ops_case AS c (tenant, case_id, title, mode, tags, labels)
		VALUES ($1, $2, $3, $4, $5, $6) RETURNING created_at, aegis.case_text(c)`
	qTag = `INSERT INTO aegis.case_tag (tenant, tag, created_at, case_id)
		SELECT $1, t.tag, $3, $2 FROM jsonb_array_elements_text($4::jsonb) AS t(tag)`
	qTimeline = `INSERT INTO aegis.case_timeline (tenant, case_id, version, kind, event, from_status, to_status, rule,
		actor, principal, reason, trace_id, idem_key) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9, $10, $11, $12)`
	qOutbox = `INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, traceparent)
		VALUES ($1, $2, $3, aegis.outbox_part($2), $4, $5, $6, $7)`
	qRemember = `INSERT INTO aegis.idempotency (tenant, principal, key, hash, status, code, version, body, extra)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`
	qGet = `SELECT version, aegis.case_text(c) FROM aegis.ops_case c WHERE tenant = $1 AND case_id = $2`
)

func traceID(traceparent string) string {
	if w := strings.Split(traceparent, "-"); len(w) == 4 {
		return w[1]
	}
	return ""
}

// The stored answer of a key, or nil when it is new.
func known(ctx context.Context, tx pgx.Tx, q *request, hash []byte) (*answer, error) {
	var a answer
	var h []byte
	err := tx.QueryRow(ctx, qKey, q.tenant, q.principal, q.key).Scan(&h, &a.status, &a.code, &a.version, &a.body, &a.extra)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err == nil && string(h) != string(hash) {
		a = problem(422, "idempotency-key-reused")
	}
	return &a, err
}

func remember(ctx context.Context, tx pgx.Tx, q *request, hash []byte, a answer) (answer, error) {
	if _, err := tx.Exec(ctx, qRemember, q.tenant, q.principal, q.key, hash, a.status, a.code, a.version, a.body, a.extra); err != nil {
		return a, err
	}
	return a, tx.Commit(ctx)
}

func transitionSeq(ctx context.Context, q *request) (answer, error) {
	var out answer
	hash, _ := hex.DecodeString(q.hash)
	tx, err := pool.Begin(ctx)
	if err != nil {
		return out, err
	}
	defer tx.Rollback(ctx)
	if a, err := known(ctx, tx, q, hash); a != nil || err != nil {
		return *a, err
	}
	var status, caseMode string
	var version int
	err = tx.QueryRow(ctx, qLock, q.tenant, q.caseID).Scan(&status, &version, &caseMode)
	if errors.Is(err, pgx.ErrNoRows) {
		return problem(404, "not-found"), nil
	}
	if err != nil {
		return out, err
	}
	if q.ifMatch != "" && q.ifMatch != "*" && q.ifMatch != strconv.Itoa(version) {
		return remember(ctx, tx, q, hash, problem(412, "version-mismatch"))
	}
	r, legal := fsm[[2]string{status, q.Event}]
	if !legal {
		return remember(ctx, tx, q, hash, problem(409, "illegal-transition"))
	}
	var at time.Time
	version++
	out = answer{status: 200, code: "ok", version: &version}
	if err = tx.QueryRow(ctx, qUpdate, q.tenant, q.caseID, r.to, q.Reason).Scan(&at, &out.body); err != nil {
		return out, err
	}
	_, err = tx.Exec(ctx, qTimeline, q.tenant, q.caseID, version, "transition", q.Event, status, r.to, r.rule,
		q.principal, q.Reason, traceID(q.traceparent), q.key)
	if err != nil {
		return out, err
	}
	data, _ := json.Marshal(map[string]any{"case_id": q.caseID, "tenant": q.tenant, "case_version": version, "event": q.Event,
		"from_status": status, "to_status": r.to, "rule": r.rule, "actor": q.principal, "reason": q.Reason, "at": at})
	id := q.caseID + ":" + strconv.Itoa(version)
	_, err = tx.Exec(ctx, qOutbox, q.tenant, q.caseID, version, id+":transition", "evt.case.transition.v1", data, q.traceparent)
	if err != nil {
		return out, err
	}
	if s := command[r.to]; s != "" && caseMode == "auto" {
		data, _ = json.Marshal(map[string]any{"case_id": q.caseID, "tenant": q.tenant, "case_version": version})
		if _, err = tx.Exec(ctx, qOutbox, q.tenant, q.caseID, version, id+":command", s, data, q.traceparent); err != nil {
			return out, err
		}
	}
	n := strconv.Itoa(r.rule)
	out.extra = &n
	return remember(ctx, tx, q, hash, out)
}

func createSeq(ctx context.Context, q *request) (answer, error) {
	var at time.Time
	one := 1
	out := answer{status: 201, code: "ok", version: &one, extra: &q.caseID}
	hash, _ := hex.DecodeString(q.hash)
	tx, err := pool.Begin(ctx)
	if err != nil {
		return out, err
	}
	defer tx.Rollback(ctx)
	if a, err := known(ctx, tx, q, hash); a != nil || err != nil {
		return *a, err
	}
	if err = tx.QueryRow(ctx, qCreate, q.tenant, q.caseID, q.Title, q.Mode, q.Tags, q.Labels).Scan(&at, &out.body); err != nil {
		return out, err
	}
	if _, err = tx.Exec(ctx, qTag, q.tenant, q.caseID, at, q.Tags); err != nil {
		return out, err
	}
	_, err = tx.Exec(ctx, qTimeline, q.tenant, q.caseID, 1, "create", "create", nil, "NEW", nil, q.principal, q.Reason,
		traceID(q.traceparent), q.key)
	if err != nil {
		return out, err
	}
	data, _ := json.Marshal(map[string]any{"case_id": q.caseID, "tenant": q.tenant, "case_version": 1, "title": q.Title,
		"mode": q.Mode, "tags": q.Tags, "labels": q.Labels, "actor": q.principal, "at": at})
	if _, err = tx.Exec(ctx, qOutbox, q.tenant, q.caseID, 1, q.caseID+":1:created", "evt.case.created.v1", data, q.traceparent); err != nil {
		return out, err
	}
	return remember(ctx, tx, q, hash, out)
}

func getSeq(ctx context.Context, q *request) (answer, error) {
	out := answer{status: 200}
	err := pool.QueryRow(ctx, qGet, q.tenant, q.caseID).Scan(&out.version, &out.body)
	return out, err
}

// ---- MODE=func

type statement struct {
	SQL     string   `json:"sql"`
	Columns []string `json:"columns"`
	Notify  bool     `json:"notify"`
}

var statements map[string]statement

// The gateway's statements, as its tables have them.
func loadStatements(name string) {
	raw, err := os.ReadFile(name)
	if err == nil {
		err = json.Unmarshal(raw, &statements)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func jsonText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// The one element of a column's array; nil is NULL.
func (q *request) column(name string) *string {
	var s string
	switch name {
	case "tenant":
		s = q.tenant
	case "principal", "actor":
		s = q.principal
	case "key":
		s = q.key
	case "hash":
		s = `\x` + q.hash
	case "case_id":
		s = q.caseID
	case "event":
		s = q.Event
	case "reason":
		s = q.Reason
	case "title":
		s = q.Title
	case "mode":
		s = q.Mode
	case "kind":
		s = "incident"
	case "severity":
		s = "warning"
	case "tags":
		s = jsonText(q.Tags)
	case "labels":
		s = jsonText(q.Labels)
	case "traceparent":
		s = q.traceparent
	case "request_id":
		s = q.key
	case "meta":
		s = "{}"
	case "correlation_id":
	case "if_match":
		if q.ifMatch == "" {
			return nil
		}
		s = q.ifMatch
	default:
		return nil
	}
	return &s
}

func call(ctx context.Context, name string, q *request) (answer, error) {
	var a answer
	var ord int
	st := statements[name]
	args := make([]any, 0, len(st.Columns)+1)
	for _, c := range st.Columns {
		args = append(args, []*string{q.column(c)})
	}
	if st.Notify {
		args = append(args, false)
	}
	err := pool.QueryRow(ctx, st.SQL, args...).Scan(&ord, &a.status, &a.code, &a.version, &a.body, &a.extra)
	return a, err
}

// A version 7 UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	ms := time.Now().UnixMilli()
	for i := 5; i >= 0; i-- {
		b[i] = byte(ms)
		ms >>= 8
	}
	b[6] = b[6]&0x0f | 0x70
	b[8] = b[8]&0x3f | 0x80
	h := hex.EncodeToString(b[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
