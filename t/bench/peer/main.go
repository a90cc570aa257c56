// main.go: the peer of the measurement: the three case routes as a user would
// write them with Go, Gin and pgx, on the same tables, with the same work a
// request, the same credentials and an access log.
//
// MODE=seq: a transaction with a statement a step, the state machine in Go.
// MODE=func: the gateway's own statement, called for one item.
package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

var (
	pool *pgxpool.Pool
	mode = os.Getenv("MODE")
	keys = map[[32]byte]identity{}
)

type identity struct{ tenant, principal string }

// What a request asks for.
type request struct {
	identity
	caseID, key, hash, traceparent, ifMatch string
	Event                                   string            `json:"event"`
	Reason                                  string            `json:"reason"`
	Title                                   string            `json:"title"`
	Mode                                    string            `json:"mode"`
	Tags                                    []string          `json:"tags"`
	Labels                                  map[string]string `json:"labels"`
}

// What it is answered, and what its key remembers.
type answer struct {
	status  int
	code    string
	version *int
	body    string
	extra   *string
}

func problem(status int, code string) answer {
	return answer{status: status, code: code, body: `{"type":"urn:aegis:problem:` + code + `","status":` + strconv.Itoa(status) + `}`}
}

func send(c *gin.Context, a answer) {
	kind := "application/json"
	if a.status >= 400 {
		kind = "application/problem+json"
	} else if a.version != nil {
		c.Header("ETag", `"`+strconv.Itoa(*a.version)+`"`)
	}
	c.Data(a.status, kind, []byte(a.body))
}

// Lines of the gateway's key file: sha256, tenant, principal, scopes.
func loadKeys(name string) {
	f, err := os.Open(name)
	if err != nil {
		log.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		w := strings.Fields(s.Text())
		if len(w) != 4 {
			continue
		}
		sum, err := hex.DecodeString(w[0])
		if err != nil || len(sum) != 32 {
			log.Fatal("not a key: ", s.Text())
		}
		keys[[32]byte(sum)] = identity{w[1], w[2]}
	}
}

func authenticate(c *gin.Context) {
	token, ok := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
	who, known := keys[sha256.Sum256([]byte(token))]
	if !ok || !known {
		send(c, problem(401, "unauthorized"))
		c.Abort()
		return
	}
	c.Set("who", who)
}

// The body and headers of a write; false when it was refused.
func read(c *gin.Context, q *request) bool {
	q.identity = c.MustGet("who").(identity)
	q.caseID = c.Param("id")
	q.key = c.GetHeader("Idempotency-Key")
	if q.key == "" {
		send(c, problem(400, "idempotency-key-missing"))
		return false
	}
	raw, err := c.GetRawData()
	if err != nil || json.Unmarshal(raw, q) != nil {
		send(c, problem(400, "bad-request"))
		return false
	}
	q.ifMatch = strings.Trim(c.GetHeader("If-Match"), `"`)
	q.traceparent = c.GetHeader("traceparent")
	h := sha256.New()
	h.Write([]byte(c.Request.Method + " " + c.Request.URL.Path + "\n" + q.ifMatch + "\n"))
	h.Write(raw)
	q.hash = hex.EncodeToString(h.Sum(nil))
	return true
}

// Run a write; a key that somebody else inserted meanwhile is looked up again.
func write(c *gin.Context, q *request, f func(context.Context, *request) (answer, error)) {
	a, err := f(c.Request.Context(), q)
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == "23505" {
		a, err = f(c.Request.Context(), q)
	}
	if err != nil {
		log.Print(err)
		a = problem(503, "unavailable")
	}
	send(c, a)
}

func transition(c *gin.Context) {
	var q request
	if !read(c, &q) {
		return
	}
	if q.Event == "" {
		send(c, problem(400, "bad-request"))
		return
	}
	if mode == "func" {
		write(c, &q, func(ctx context.Context, q *request) (answer, error) { return call(ctx, "transition", q) })
	} else {
		write(c, &q, transitionSeq)
	}
}

func create(c *gin.Context) {
	var q request
	if !read(c, &q) {
		return
	}
	if q.Title == "" {
		send(c, problem(400, "bad-request"))
		return
	}
	q.caseID = newID()
	if mode == "func" {
		write(c, &q, func(ctx context.Context, q *request) (answer, error) { return call(ctx, "create", q) })
	} else {
		write(c, &q, createSeq)
	}
}

func get(c *gin.Context) {
	q := request{identity: c.MustGet("who").(identity), caseID: c.Param("id")}
	f := getSeq
	if mode == "func" {
		f = func(ctx context.Context, q *request) (answer, error) { return call(ctx, "get", q) }
	}
	a, err := f(c.Request.Context(), &q)
	if errors.Is(err, pgx.ErrNoRows) {
		a = problem(404, "not-found")
	} else if err != nil {
		log.Print(err)
		a = problem(503, "unavailable")
	}
	if a.version != nil && c.GetHeader("If-None-Match") == `"`+strconv.Itoa(*a.version)+`"` {
		c.Status(http.StatusNotModified)
		return
	}
	send(c, a)
}

// A log that many goroutines write to and that is written out seldom.
type buffered struct {
	sync.Mutex
	w *bufio.Writer
}

func (b *buffered) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.w.Write(p)
}

func (b *buffered) flush() {
	b.Lock()
	defer b.Unlock()
	b.w.Flush()
}

func main() {
	loadKeys(os.Getenv("KEYS"))
	loadStatements(os.Getenv("STATEMENTS"))
	cfg, err := pgxpool.ParseConfig(os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	n, _ := strconv.Atoi(os.Getenv("POOL"))
	cfg.MaxConns, cfg.MinConns = int32(n), int32(n)
	if pool, err = pgxpool.NewWithConfig(context.Background(), cfg); err != nil {
		log.Fatal(err)
	}
	logFile, err := os.OpenFile(os.Getenv("ACCESS_LOG"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	// as the gateway's: 64 KiB at a time, each second at the latest
	access := &buffered{w: bufio.NewWriterSize(logFile, 64<<10)}
	go func() {
		for range time.Tick(time.Second) {
			access.flush()
		}
	}()
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.Use(gin.LoggerWithWriter(access), gin.Recovery())
	g.GET("/healthz", func(c *gin.Context) { c.String(200, "ok") })
	api := g.Group("/", authenticate)
	api.PATCH("/case/:id/transition", transition)
	api.POST("/case/create", create)
	api.GET("/case/:id", get)
	serve := func(addr string) *http.Server {
		return &http.Server{Addr: addr, Handler: g, ReadHeaderTimeout: 10 * time.Second}
	}
	go func() {
		log.Fatal(serve(os.Getenv("LISTEN_TLS")).ListenAndServeTLS(os.Getenv("TLS_CERT"), os.Getenv("TLS_KEY")))
	}()
	log.Fatal(serve(os.Getenv("LISTEN")).ListenAndServe())
}
