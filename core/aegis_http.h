/*
 * aegis_http.h: the HTTP rules that are pure: keys, entity tags, conditions,
 * cursors, query values, fingerprints, trace context. No nginx type in sight,
 * so that each is unit-tested and fuzzed alone.
 */
#ifndef AEGIS_HTTP_H
#define AEGIS_HTTP_H

#include "aegis_error.h"

#define AEGIS_KEY_MAX          255
#define AEGIS_HASH_MAX         67      /* \x + 64 hex + NUL */
#define AEGIS_TRACEPARENT_LEN  55
#define AEGIS_UUID_LEN         36
#define AEGIS_CURSOR_MAX       256

/* Idempotency-Key: an sf-string (RFC 9651 3.3.3; parameters ignored) or the
 * bare form [A-Za-z0-9._:-]{1,255}; "x" and x are the same key. out holds
 * AEGIS_KEY_MAX + 1 bytes. KEY_INVALID otherwise. */
aegis_code_t aegis_http_key(aegis_str_t header, char *out, size_t *ret_len);

/* If-Match and If-None-Match of a write (RFC 9110 13.1.1, 13.1.2; data NULL:
 * not there) as one condition on the version of what exists: "*" always holds,
 * "" never, "3,5" at these versions, "!3,!5" at all others. Foreign tags match
 * nothing; weak ones match in If-None-Match alone. PRECOND_INVALID when
 * malformed, or longer than out (size bytes). */
aegis_code_t aegis_http_condition(aegis_str_t if_match, aegis_str_t none_match,
    char *out, size_t size);

/* A list of entity tags, or "*", against one tag without its quotes: 1 it is in
 * there, 0 not, -1 malformed. weak: W/"x" is "x" (If-None-Match). */
int aegis_http_etag_match(aegis_str_t header, aegis_str_t tag, int weak);

/* sha256 over method, route template, id and body, as \x<hex>. */
void aegis_http_fingerprint(aegis_str_t method, aegis_str_t route, aegis_str_t id,
    aegis_str_t body, char out[AEGIS_HASH_MAX]);

/* traceparent (W3C Trace Context): 1 when header is usable, out gets a version
 * 00 line with the same trace id; 0 when a new trace must be made from
 * random (24 bytes), which then is what out holds. out: 55 bytes + NUL. */
int aegis_http_traceparent(aegis_str_t header, const unsigned char random[24],
    char out[AEGIS_TRACEPARENT_LEN + 1]);

/* UUID text in lower case: 1 when s is one (8-4-4-4-12 hex, any case). */
int aegis_uuid_valid(aegis_str_t s);

/* RFC 9562 version 7 from milliseconds since 1970 and 10 random bytes. */
void aegis_uuid_v7(uint64_t unix_ms, const unsigned char random[10],
    char out[AEGIS_UUID_LEN + 1]);

/* RFC 9562 version 8 from sha256(name): the same name, the same id. */
void aegis_uuid_named(aegis_str_t name, char out[AEGIS_UUID_LEN + 1]);

/* Cursors: base64url of "<position>|<first 16 hex of HMAC-SHA256(secret,
 * filters|position)>". A cursor of another filter or another secret is
 * CURSOR_INVALID. filters is any canonical text of the query. */
aegis_code_t aegis_cursor_make(aegis_str_t secret, aegis_str_t filters,
    aegis_str_t position, char *out, size_t size);
aegis_code_t aegis_cursor_read(aegis_str_t secret, aegis_str_t filters,
    aegis_str_t cursor, char *out, size_t size);

/* RFC 3339 date-time, the only form of since and until: 1 when valid. */
int aegis_http_time_valid(aegis_str_t s);

/* Accept: 1 when application/json (or problem+json) is acceptable. */
int aegis_http_accepts_json(aegis_str_t accept);

/* Accept: 1 when OpenMetrics is named, and plain text is not liked better. */
int aegis_http_accepts_openmetrics(aegis_str_t accept);

/* Content-Type: 1 for application/json with no parameter but charset=utf-8. */
int aegis_http_is_json(aegis_str_t content_type);

/* The same for application/yaml (RFC 9512). */
int aegis_http_is_yaml(aegis_str_t content_type);

#endif
