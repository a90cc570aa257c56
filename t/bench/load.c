/*
 * load.c: a load generator for the case routes, ours or anybody's who serves the
 * same: closed loop (each connection sends when it was answered) or open loop (a
 * fixed rate; latency counts from when a request was due, so a server that stalls
 * cannot hide it), plain or TLS 1.3. Prints one JSON object; exit code 3 when an
 * answer was wrong or missing. README.md beside it lists the options.
 *
 * This file: options and report; load_run.c has the loop.
 */
#include "load.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>

static const char  *load_works[] = { "transition", "create", "get", "paths",
                                     "hint" };


uint64_t
load_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return ts.tv_sec * LOAD_SECOND + ts.tv_nsec;
}


void
load_die(const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    fprintf(stderr, "load: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}


void
load_hist_add(load_hist_t *h, uint64_t ns)
{
    int  shift;

    shift = ns < 64 ? 0 : 58 - __builtin_clzll(ns);
    h->b[shift * 64 + (ns >> shift)]++;
    h->n++;
    h->sum += ns;
    if (ns > h->max) {
        h->max = ns;
    }
}


double
load_hist_ms(const load_hist_t *h, double quantile)
{
    int       i, shift;
    double    top;
    uint64_t  want, seen;

    want = (uint64_t) (quantile * h->n + 0.999999);
    seen = 0;

    for (i = 0; i < LOAD_HIST_N && h->n; i++) {
        seen += h->b[i];
        if (h->b[i] && seen >= want) {
            shift = i / 64;
            top = (i % 64 + 1.0) * (double) (1ull << shift);
            return (top > h->max ? h->max : top) / 1e6;
        }
    }

    return 0;
}


static void
load_print_hist(const load_hist_t *h)
{
    printf("\"p50_ms\":%.3f,\"p90_ms\":%.3f,\"p99_ms\":%.3f,\"p999_ms\":%.3f,"
           "\"max_ms\":%.3f,\"mean_ms\":%.3f", load_hist_ms(h, 0.5),
           load_hist_ms(h, 0.9), load_hist_ms(h, 0.99), load_hist_ms(h, 0.999),
           h->max / 1e6, h->n ? h->sum / h->n / 1e6 : 0);
}


static void
load_print_string(const char *s)
{
    putchar('"');
    for ( /* void */ ; *s; s++) {
        if (*s == '"' || *s == '\\' || (unsigned char) *s < 0x20) {
            printf("\\u%04x", *s);
        } else {
            putchar(*s);
        }
    }
    putchar('"');
}


static int
load_report(load_t *l, const char *slices)
{
    int             i, n, bad;
    unsigned        k;
    load_phase_t   *p;
    struct rusage   ru;

    getrusage(RUSAGE_SELF, &ru);
    bad = l->wrong || l->timeouts || l->closed || l->n_busy;

    printf("{\"work\":\"%s\",\"conns\":%u,\"tls\":%s,\"sent\":%llu,\"ok\":%llu,"
           "\"refused\":%llu,\"wrong\":%llu,\"timeouts\":%llu,\"closed\":%llu,"
           "\"unanswered\":%u,\"reconnects\":%llu,\"settled\":%llu,\"bytes_in\":%llu,",
           load_works[l->work], l->n_conns, l->tls ? "true" : "false",
           (unsigned long long) l->sent, (unsigned long long) l->good,
           (unsigned long long) l->refused, (unsigned long long) l->wrong,
           (unsigned long long) l->timeouts, (unsigned long long) l->closed, l->n_busy,
           (unsigned long long) l->reconnects, (unsigned long long) l->settled,
           (unsigned long long) l->bytes_in);
    printf("\"cpu_us\":%.2f,\"status\":{", l->sent ? (ru.ru_utime.tv_sec * 1e6
           + ru.ru_utime.tv_usec + ru.ru_stime.tv_sec * 1e6 + ru.ru_stime.tv_usec)
           / l->sent : 0);

    for (i = 0, n = 0; i < 1000; i++) {
        if (l->by_status[i]) {
            printf("%s\"%d\":%llu", n++ ? "," : "", i,
                   (unsigned long long) l->by_status[i]);
        }
    }

    printf("},\"wrong_first\":");
    load_print_string(l->wrong_first);
    printf(",\"phases\":[");

    for (k = l->warm > 0, n = 0; k < l->n_phases; k++) {
        p = &l->phases[k];
        printf("%s{\"rate\":%.1f,\"secs\":%.3f,\"ok\":%llu,\"refused\":%llu,"
               "\"gave_up\":%llu,\"rps\":%.1f,", n++ ? "," : "", p->rate, p->took,
               (unsigned long long) p->ok, (unsigned long long) p->refused,
               (unsigned long long) p->gave_up, p->took > 0 ? p->ok / p->took : 0);
        load_print_hist(&p->hist);
        printf("}");
    }

    printf("],\"slices\":[%s]}\n", slices);

    return bad ? 3 : 0;
}


static void
load_add_phases(load_t *l, char *spec)
{
    char          *s;
    load_phase_t  *p;

    for (s = strtok(spec, ","); s; s = strtok(NULL, ",")) {
        if (l->n_phases + 1 >= LOAD_MAX_PHASES) {
            load_die("too many phases");
        }

        p = &l->phases[++l->n_phases];
        if (sscanf(s, "%lf:%lf", &p->rate, &p->secs) != 2 || p->rate < 0
            || p->secs <= 0)
        {
            load_die("not a phase, rate:seconds with rate 0 for the closed loop: %s", s);
        }
    }
}


static load_work_e
load_work(const char *name)
{
    int  i;

    for (i = 0; i < (int) (sizeof(load_works) / sizeof(load_works[0])); i++) {
        if (strcmp(name, load_works[i]) == 0) {
            return i;
        }
    }

    load_die("--work is transition, create, get, paths or hint");
}


static void
load_allow(load_t *l, char *spec)
{
    int    status;
    char  *s;

    for (s = strtok(spec, ","); s; s = strtok(NULL, ",")) {
        status = atoi(s);
        if (status < 200 || status > 599) {
            load_die("not a status: %s", s);
        }
        l->allowed[status] = 1;
    }
}


static void
load_options(load_t *l, int argc, char **argv)
{
    int    i, n;
    char  *files[3] = { NULL, NULL, NULL };
    static char  default_phase[] = "0:5";

    static const struct option  options[] = {
        { "host", 1, NULL, 'h' },     { "port", 1, NULL, 'p' },
        { "tls", 1, NULL, 's' },      { "work", 1, NULL, 'w' },
        { "conns", 1, NULL, 'c' },    { "phases", 1, NULL, 'P' },
        { "warm", 1, NULL, 'W' },     { "tokens", 1, NULL, 't' },
        { "cases", 1, NULL, 'k' },    { "paths", 1, NULL, 'u' },
        { "prefix", 1, NULL, 'x' },   { "if-match", 0, NULL, 'm' },
        { "timeout", 1, NULL, 'T' },  { "patience", 1, NULL, 'g' },
        { "allow", 1, NULL, 'a' },    { "slices", 0, NULL, 'l' },
        { NULL, 0, NULL, 0 }
    };

    while ((i = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (i) {
        case 'h': l->host = optarg; break;
        case 'p': l->port = atoi(optarg); break;
        case 's': l->tls = 1; l->ca = optarg; break;
        case 'w': l->work = load_work(optarg); break;
        case 'c': l->n_conns = (unsigned) atoi(optarg); break;
        case 'P': load_add_phases(l, optarg); break;
        case 'W': l->warm = atof(optarg); break;
        case 't': files[0] = optarg; break;
        case 'k': files[1] = optarg; break;
        case 'u': files[2] = optarg; break;
        case 'x': l->prefix = optarg; break;
        case 'm': l->if_match = 1; break;
        case 'T': l->timeout = atof(optarg); break;
        case 'g': l->patience = atof(optarg); break;
        case 'a': load_allow(l, optarg); break;
        case 'l': l->slices = 1; break;
        default: exit(2);
        }
    }

    if (optind != argc || l->port <= 0 || l->n_conns < 1 || l->n_conns > 20000
        || files[0] == NULL || l->timeout <= 0)
    {
        load_die("needs --port, --tokens and --conns of 1 to 20000");
    }

    load_work_read(l, files[0], files[1], files[2]);

    if (l->n_phases == 0) {
        load_add_phases(l, default_phase);
    }

    /* phases[0] is the warm-up, or is not there */
    n = l->warm > 0;
    l->phases[0].rate = l->phases[1].rate;
    l->phases[0].secs = l->warm;
    if (!n) {
        memmove(&l->phases[0], &l->phases[1], l->n_phases * sizeof(l->phases[0]));
    }
    l->n_phases += n;
}


static void
load_limits(load_t *l)
{
    struct rlimit  rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < l->n_conns + 64) {
        rl.rlim_cur = l->n_conns + 64;
        if (rl.rlim_max < rl.rlim_cur || setrlimit(RLIMIT_NOFILE, &rl) != 0) {
            load_die("too many connections for ulimit -n");
        }
    }

    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0) {
        load_die("epoll_create1: %s", strerror(errno));
    }

    if (!l->tls) {
        return;
    }

    l->ctx = SSL_CTX_new(TLS_client_method());
    if (l->ctx == NULL || SSL_CTX_set_min_proto_version(l->ctx, TLS1_3_VERSION) != 1
        || SSL_CTX_load_verify_locations(l->ctx, l->ca, NULL) != 1)
    {
        load_die("cannot use %s as the certification authority", l->ca);
    }

    SSL_CTX_set_verify(l->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_mode(l->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE);
}


int
main(int argc, char **argv)
{
    FILE    *out;
    size_t   size;

    /* kept to the end of the process */
    static char    *slices;
    static load_t  *l;

    l = calloc(1, sizeof(load_t));
    out = open_memstream(&slices, &size);
    if (l == NULL || out == NULL) {
        load_die("no memory");
    }

    l->host = "127.0.0.1";
    l->prefix = "load";
    l->n_conns = 1;
    l->timeout = 15;
    l->patience = 1e6;

    load_options(l, argc, argv);
    load_limits(l);
    load_connect(l);
    load_run(l, out);
    fclose(out);

    return load_report(l, slices);
}
