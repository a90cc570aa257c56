# 28semantics.t: HTTP as docs/http.md promises it: conditions and their order,
# what a policy may demand, CORS, trace context, deprecation, Vary, nginx's own
# refusals, HTTP/2, and requests made to be read in two ways (data/http_raw.json).
use v5.36;
use lib 't/lib';
use Test::More;
use IO::Select;
use Aegis::Case;
use Aegis::Def;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $other = $stack->http('other');
my $pg = $stack->pg;
my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
my $old = 'Thu, 01 Jan 1970 00:00:00 GMT';
my $late = 'Fri, 31 Dec 2999 23:59:59 GMT';

# Another configuration until the code that is returned is called. A reload closes
# kept connections, so none is used across it.
sub edit ($code) {
    my $undo = $stack->nginx_edit($code);
    $_->close for $http, $other;
    return sub { $undo->(); $_->close for $http, $other };
}

sub parked () {
    my $c = Aegis::Case->create($http, mode => 'manual');
    $c->must('start_analysis');
    $c->must('force_park');
    return $c;
}

# --- conditions
my $case = parked();
my $id = $case->id;

subtest 'conditions of a write: RFC 9110 13.2.2' => sub {
    for my $f (
        # If-Match, If-None-Match, status; the case is at version 3
        [undef,        '*',            412], [undef,  '"3"',        412], [undef, 'W/"3"',     412],
        [undef,        '"1", "3"',     412], [undef,  '"1", "2"',   200], [undef, '"abc"',     200],
        [undef,        '3',            400], ['"3"',  '"2"',        200], ['"3"', '"3"',       412],
        ['"3", "4"',   'W/"3"',        412], ['"3"',  '*',          412], ['*',   '"2"',       200],
        ['*',          '"3"',          412], ['"2"',  '"2"',        412],
    ) {
        my ($match, $none, $status) = @$f;
        my $c = parked();
        my $before = $pg->fingerprint(case_id => $c->id);
        my $what = 'If-Match ' . ($match // '-') . ', If-None-Match ' . ($none // '-');
        my $r = $c->say('resume', headers => ['If-None-Match', $none], if_match => $match);
        is($r->status, $status, "$what: $status") or diag($r->brief);
        next if $status == 200;
        is_deeply($pg->fingerprint(case_id => $c->id), $before, '  nothing changed');
        is($r->header('etag'), '"3"', '  with the ETag') if $status == 412;
    }
    for my $h (['If-Unmodified-Since', $old], ['If-Modified-Since', $late]) {
        is(parked()->say('resume', headers => $h)->status, 200, "$h->[0] is for resources with a Last-Modified: ignored");
    }
    my $key = new_key();
    my $c = parked();
    my $first = $c->say('resume', headers => ['If-None-Match', '"9"'], key => $key);
    my $again = $c->say('resume', headers => ['If-None-Match', '"4"'], key => $key);
    is($again->body, $first->body, 'a replay is answered before its conditions are judged');
    is($case->say('exec_done', headers => ['If-None-Match', '"3"'], key => new_key())->status, 412, 'a condition is judged before the state machine');
};

subtest 'conditions of a read' => sub {
    my $made = $case->plan;
    my %url = (case => "/case/$id", timeline => "/case/$id/timeline", page => "/case/$id/timeline?limit=1",
        plan => "/plan/$made->{plan_id}", list => '/case?limit=2&until=' . '2026-01-01T00:00:00Z', openapi => '/openapi.json');
    for my $what (sort keys %url) {
        my $r = $http->get($url{$what});
        is($r->status, 200, "$what: found");
        my $tag = $r->header('etag') // '';
        like($tag, qr/^"[^"]+"$/, "$what: has a strong ETag") or next;
        is($http->get($url{$what})->header('etag'), $tag, "$what: the same for the same bytes");
        my $head = $http->request('HEAD', $url{$what});
        is($head->header($_) // '', $r->header($_) // '', "$what: HEAD has the same $_")
            for qw(etag content-length content-type cache-control vary link);
        for my $q ([$tag, 304], ["W/$tag", 304], ["\"x\", $tag", 304], ['*', 304], ['"x"', 200]) {
            my $c = $http->get($url{$what}, headers => ['If-None-Match', $q->[0]]);
            is($c->status, $q->[1], "$what: If-None-Match: $q->[0] is answered $q->[1]");
            next unless $c->status == 304;
            is($c->header($_) // '', $r->header($_) // '', "$what: 304 has the same $_") for qw(etag cache-control vary);
            is($c->header('content-length'), undef, "$what: and no length");
        }
        for my $q ([$tag, 200], ['*', 200], ["\"x\", $tag", 200], ["W/$tag", 412], ['"x"', 412], ['x', 400]) {
            my $c = $http->get($url{$what}, headers => ['If-Match', $q->[0]]);
            is($c->status, $q->[1], "$what: If-Match: $q->[0] is answered $q->[1]");
            is($c->header('etag'), $tag, "$what: with the ETag") if $c->status == 412;
        }
        is($http->get($url{$what}, headers => ['If-Match', $tag, 'If-None-Match', $tag])->status, 304, "$what: both that hold: 304");
        is($http->get($url{$what}, headers => ['If-Match', '"x"', 'If-None-Match', $tag])->status, 412, "$what: If-Match is judged first");
        is($http->get($url{$what}, headers => ['If-None-Match', '"x"', 'If-Modified-Since', $late])->status, 200,
            "$what: If-Modified-Since does not count");
        is($http->get($url{$what}, headers => ['If-Unmodified-Since', $old])->status, 200, "$what: nor does If-Unmodified-Since");
        is($http->get($url{$what}, headers => ['If-None-Match', 'x'])->problem, 'if-match-invalid', "$what: a tag without quotes is refused");
        is($http->get($url{$what}, headers => ['Range', 'bytes=0-1'])->status, 200, "$what: no ranges");
    }
    my $t = $http->get("/case/$id/timeline")->header('etag');
    $case->must('resume');
    isnt($http->get("/case/$id/timeline")->header('etag'), $t, 'a timeline that has grown has another ETag');
    is($http->get("/case/$id/timeline", headers => ['If-None-Match', $t])->status, 200, 'and is sent');
    is($http->get('/case/' . uuid, headers => ['If-None-Match', '*'])->status, 404, 'what is not there is not found, whatever the conditions');
    is($http->get('/case/' . uuid, headers => ['If-Match', '*'])->status, 404, 'also with If-Match');
};

subtest 'aegis_require_if_match and aegis_strict_idempotency_key' => sub {
    my $undo = edit(sub ($conf) {
        $conf =~ s/(server_name localhost;\n)/$1        aegis_require_if_match on;\n        aegis_strict_idempotency_key on;\n/ or die 'no server';
        return $conf;
    });
    my $c = $http->write('POST', '/case/create', { title => 'strict', mode => 'manual' }, key => '"' . new_key() . '"');
    is($c->status, 201, 'create needs no condition') or diag($c->brief);
    my $url = '/case/' . $c->json->{case_id} . '/transition';
    my $say = sub (%o) { $http->write('PATCH', $url, { event => 'start_analysis', %{ $o{body} // {} } }, key => '"' . new_key() . '"', %{ $o{req} // {} }) };
    for my $o ({}, { body => { expected_version => 1 } }, { req => { headers => ['If-None-Match', '"7"'] } }) {
        my $r = $say->(%$o);
        is($r->status, 428, 'a transition without If-Match is 428') or diag($r->brief);
        is($r->problem, 'precondition-required', 'with its own type');
    }
    is($say->(req => { if_match => '"2"' })->status, 412, 'a wrong one is 412');
    is($say->(req => { if_match => '"1"' })->status, 200, 'a right one is 200');
    my $bare = $http->write('POST', '/case/create', { title => 'strict', mode => 'manual' });
    is($bare->problem, 'idempotency-key-invalid', 'a bare key is refused');
    like($bare->json->{detail}, qr/quoted/, 'and says what it wants');
    is($http->write('POST', '/case/create', { title => 'strict', mode => 'manual' }, key => '"' . new_key() . '";a=1')->status, 201,
        'parameters are ignored');
    $undo->();
    is($case->say('force_park')->status, 200, 'off by default');
};

subtest 'a key is described where it is wrong' => sub {
    my $key = new_key();
    my @r = ($http->write('POST', '/case/create', { title => 'x' }, no_key => 1),
        $http->write('POST', '/case/create', { title => 'x' }, key => 'a b'));
    $http->write('POST', '/case/create', { title => 'x', mode => 'manual' }, key => $key);
    push @r, $http->write('POST', '/case/create', { title => 'y', mode => 'manual' }, key => qq("$key"));
    is_deeply([ map { $_->problem } @r ], [qw(idempotency-key-missing idempotency-key-invalid idempotency-key-reused)], 'three ways');
    for my $r (@r) {
        like($r->header('link') // '', qr/rel="describedby"/, $r->problem . ' links to its description');
        my ($pointer) = ($r->header('link') // '') =~ m{^</openapi\.json#/(\S+)>};
        my $at = json_decode(slurp(root . '/docs/openapi.json'));
        $at = $at->{$_} for split m{/}, $pointer // 'nothing';
        is($at->{name}, 'Idempotency-Key', 'which is there');
    }
};

# --- what answers carry
subtest 'trace context' => sub {
    my $trace = '4bf92f3577b34da6a3ce929d0e0e4736';
    my $parent = "00-$trace-00f067aa0ba902b7-01";
    for my $q (['GET', "/case/$id", 200], ['GET', '/case/' . uuid, 404], ['GET', '/case?limit=0', 400], ['GET', '/nothing', 404],
            ['DELETE', "/case/$id", 405], ['BREW', "/case/$id", 501]) {
        my $r = $http->request($q->[0], $q->[1], headers => [traceparent => $parent]);
        is($r->status, $q->[2], "$q->[0] $q->[1]: $q->[2]");
        is($r->header('traceparent'), $parent, '  its trace is answered');
        is($r->json->{trace_id}, $trace, '  and in the problem document') if $q->[2] >= 400;
        my $fresh = $http->request($q->[0], $q->[1])->header('traceparent') // '';
        like($fresh, qr/^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-01$/, '  a new one when none was sent');
    }
    my $key = new_key();
    my $r = $case->say('exec_done', key => $key, headers => [traceparent => $parent]);
    is($r->problem, 'illegal-transition', 'a refusal of the state machine');
    is($r->json->{trace_id}, $trace, 'names the trace too');
    my $again = $case->say('exec_done', key => $key);
    is($again->body, $r->body, 'a replay has the first request\'s');
    isnt($again->header('traceparent'), $r->header('traceparent'), 'and its own header');
    is($http->write('POST', '/gate/eval', { case_id => $id }, headers => [traceparent => $parent])->json->{trace_id}, $trace, 'so does a module\'s');
    is($stack->http('nobody')->get('/case', headers => [traceparent => $parent])->json->{trace_id}, $trace, 'and a 401');
    is($http->write('POST', '/case/create', { title => 'x' x 400_000 }, headers => [traceparent => $parent])->json->{trace_id}, $trace,
        'and what nginx itself refuses');
    for my $bad ("ff-$trace-00f067aa0ba902b7-01", "00-$trace-00f067aa0ba902b7", uc $parent, "00-${\('0' x 32)}-00f067aa0ba902b7-01",
            "00-$trace-${\('0' x 16)}-01", "$parent-x", 'nonsense') {
        unlike($http->get("/case/$id", headers => [traceparent => $bad])->header('traceparent'), qr/$trace/, "$bad begins a new trace");
    }
    is($http->get("/case/$id", headers => [traceparent => "cc-$trace-00f067aa0ba902b7-01-more"])->header('traceparent'), $parent,
        'a later version is read as far as it is known');
    is($http->get("/case/$id", headers => [traceparent => $parent, traceparent => $parent])->header('traceparent') =~ /$trace/ ? 1 : 0, 0,
        'two of them are none');
    is($http->get('/healthz', headers => [traceparent => $parent])->header('traceparent'), undef, 'health has no trace');
};

subtest 'Vary and Cache-Control' => sub {
    for my $row (def_rows('routes', 'AEGIS_ROUTE')) {
        my ($rid, $method, $path, $kind) = @$row;
        my $r = $http->request($method, $path =~ s/\{id\}/$id/r);
        my $local = $kind eq 'LOCAL';
        is($r->header('vary'), $rid eq 'METRICS' ? 'Accept' : $local ? undef : 'Accept, Authorization', "$method $path: Vary");
        like($r->header('cache-control'), qr/^no-cache\b/, "$method $path: Cache-Control");
    }
};

subtest 'Expect: 100-continue' => sub {
    my $body = json_encode({ title => 'expected', mode => 'manual' });
    my $ask = sub (%o) {
        my $h = $http->with(%o);
        my $s = $h->open_socket;
        my $bytes = $h->render('POST', '/case/create', headers => ['Content-Type', 'application/json', 'Content-Length', length $body,
            'Idempotency-Key', new_key(), 'Expect', '100-continue']);
        syswrite $s, $bytes;
        my ($in, $sent) = ('', 0);
        wait_for('an answer', 10, sub {
            sysread $s, $in, 65536, length $in;
            $sent = syswrite $s, $body if !$sent && $in =~ /^HTTP\/1.1 100 /;
            return $in =~ /^HTTP\/1.1 (?!100)\d/m && $in =~ /"(?:title|type)"/;
        });
        return $in;
    };
    like($ask->(), qr/\AHTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 201 /, 'the body is asked for, then taken');
    like($ask->(token => 'nobody'), qr/\AHTTP\/1\.1 401 (?s:.*)^Connection: close\r$/m, 'a request without a credential is refused at once, and nothing can follow');
};

# --- what only a configuration turns on
subtest 'CORS' => sub {
    my $origin = 'https://console.example';
    is($http->get("/case/$id", headers => [Origin => $origin])->header('access-control-allow-origin'), undef, 'off by default');
    my $undo = edit(sub ($conf) {
        $conf =~ s/(server_name localhost;\n)/$1        aegis_cors_origin $origin http:\/\/localhost:3000;\n/ or die 'no server';
        return $conf;
    });
    my $anyone = $stack->http('nobody');
    for my $row (def_rows('routes', 'AEGIS_ROUTE')) {
        my ($rid, $method, $path) = @$row;
        my $url = $path =~ s/\{id\}/$id/r;
        my $r = $anyone->request('OPTIONS', $url, headers => [Origin => $origin, 'Access-Control-Request-Method', $method,
            'Access-Control-Request-Headers', 'authorization, idempotency-key, if-match']);
        is($r->status, 204, "$method $path: a preflight needs no credential");
        is($r->header('access-control-allow-origin'), $origin, '  its origin is allowed');
        like($r->header('access-control-allow-methods') // '', qr/\b$method\b/, '  and the method');
        my %may = map { lc $_ => 1 } split /, /, $r->header('access-control-allow-headers') // '';
        is(join(' ', grep { !$may{$_} } qw(authorization content-type idempotency-key if-match if-none-match traceparent)), '',
            '  and our headers');
        is($r->header('access-control-max-age'), 600, '  for ten minutes');
        is($r->header('access-control-allow-credentials'), undef, '  without cookies');
        like($r->header('vary'), qr/\bOrigin\b/, '  Vary says so');
        is($r->body, '', '  and nothing else');
    }
    my %expose = map { $_ => 1 } split /, /, $http->get("/case/$id", headers => [Origin => $origin])->header('access-control-expose-headers') // '';
    is(join(' ', grep { !$expose{$_} } qw(ETag Location Link Retry-After Idempotent-Replayed X-Request-Id RateLimit)), '', 'headers are exposed');
    for my $q (['GET', "/case/$id", 200], ['GET', '/case/' . uuid, 404], ['GET', '/nothing', 404], ['DELETE', "/case/$id", 405],
            ['GET', '/case?limit=0', 400], ['GET', '/healthz', 200], ['POST', '/case/create', 415]) {
        my ($method, $path, $status) = @$q;
        for my $o ([$origin, $origin], ['http://localhost:3000', 'http://localhost:3000'], ['https://evil.example', undef], ['null', undef],
                ['https://console.example.example', undef], ['HTTPS://CONSOLE.EXAMPLE', undef], [undef, undef]) {
            my $r = $http->request($method, $path, headers => [Origin => $o->[0]]);
            is($r->status, $status, "$method $path from " . ($o->[0] // 'nowhere') . ": $status");
            is($r->header('access-control-allow-origin'), $o->[1], '  ' . ($o->[1] ? 'allowed' : 'not allowed'));
            like($r->header('vary') // '', qr/\bOrigin\b/, '  Vary has Origin');
        }
    }
    is($anyone->get('/case', headers => [Origin => $origin])->header('access-control-allow-origin'), $origin, 'on a 401 as well');
    my $big = $http->write('POST', '/case/create', { title => 'x' x 400_000 }, headers => [Origin => $origin]);
    is($big->status, 413, 'on what nginx itself refuses');
    is($big->header('access-control-allow-origin'), $origin, 'as well');
    is($http->get("/case/$id", headers => [Origin => $origin, 'If-None-Match', '*'])->header('access-control-allow-origin'), $origin, 'and on a 304');
    is($http->get("/case/$id", headers => [Origin => $origin, Origin => $origin])->header('access-control-allow-origin'), undef, 'two origins are none');
    $undo->();
};

subtest 'Deprecation and Sunset' => sub {
    my $why = 'https://example.com/v2';
    is($http->get("/case/$id")->header($_), undef, "no $_ by default") for qw(deprecation sunset);
    my $undo = edit(sub ($conf) {
        $conf =~ s|(server_name localhost;\n)|$1
            aegis_deprecated "/case/{id}" 2026-01-01T00:00:00Z sunset=2027-06-30T23:59:59Z link=$why "successor=/v2/cases/{id}?full=1";
            aegis_deprecated "/exec/{id}" 2026-01-01T00:00:00+01:00 "successor=/adapter/exec/{id}";
            aegis_deprecated /healthz   2030-01-01T00:00:00Z;\n| or die 'no server';
        return $conf;
    });
    for my $q (["/case/$id", $id, 200], ['/case/' . ($id =~ tr/0-9/0/r), '', 404], ['/case/' . uc $id, $id, 200]) {
        my $r = $http->get($q->[0]);
        is($r->status, $q->[2], "GET $q->[0]: $q->[2]");
        is($r->header('deprecation'), '@1767225600', '  Deprecation is a date of RFC 9651');
        is($r->header('sunset'), 'Wed, 30 Jun 2027 23:59:59 GMT', '  Sunset is a date of HTTP');
        my $link = join ', ', $r->all('link');
        like($link, qr{<\Q$why\E>; rel="deprecation"}, '  Link says why');
        like($link, qr{<\Q$why\E>; rel="sunset"}, '  and until when');
        like($link, qr{</v2/cases/\Q$q->[1]\E[^>]*\?full=1>; rel="successor-version"}, '  and what comes instead');
    }
    is($http->get("/case/$id/timeline")->header('deprecation'), undef, 'other routes have none');
    my $e = $http->get('/exec/' . uuid);
    is($e->header('deprecation'), '@1767222000', 'a time has a zone');
    is($e->header('sunset'), undef, 'a sunset need not be known');
    $e = $http->get('/exec/nothing');
    is_deeply([ $e->status, $e->header('deprecation'), scalar $e->header('link') ], [404, '@1767222000', undef], 'what has no id has no successor');
    is($http->get('/healthz')->header('deprecation'), '@1893456000', 'a LOCAL route may be deprecated');
    is($http->get('/healthz')->header('link'), undef, 'without a link');
    is($http->request('OPTIONS', "/case/$id")->header('deprecation'), undef, 'OPTIONS is of the resource, not of the route');
    $undo->();
};

subtest 'aegis_quota' => sub {
    is($http->get('/case?limit=1')->header($_), undef, "no $_ by default") for qw(ratelimit ratelimit-policy);
    # a window of a day, so that no test falls into two
    my $undo = edit(sub ($conf) {
        $conf =~ s/(server_name localhost;\n)/$1        aegis_quota 40 per=1d;\n/ or die 'no server';
        return $conf;
    });
    my $left = 40;
    for my $q (['GET', '/case?limit=1', 200], ['GET', '/case/' . uuid, 404], ['GET', '/case?limit=0', 400], ['POST', '/case/create', 415]) {
        my $r = $http->request($q->[0], $q->[1]);
        is($r->status, $q->[2], "$q->[0] $q->[1]: $q->[2]");
        is($r->header('ratelimit-policy'), '"tenant";q=40;w=86400', '  the policy');
        my ($n, $t) = ($r->header('ratelimit') // '') =~ /^"tenant";r=(\d+);t=(\d+)$/;
        is($n, --$left, '  one less is left');
        ok($t >= 1 && $t <= 86400, '  and for how long');
    }
    is($stack->http('nobody')->get('/case')->header('ratelimit'), undef, 'a 401 is nobody\'s');
    is($http->get('/healthz')->header('ratelimit'), undef, 'health is not counted');
    is($http->request('OPTIONS', '/case')->header('ratelimit'), undef, 'nor is OPTIONS');
    my @r = $http->crowd([ map { { method => 'GET', path => '/case?limit=1' } } 1 .. 60 ], connections => 12);
    is((grep { $_->status == 200 } @r), $left, "of 60 at once over all workers, the $left that are left get through");
    my @no = grep { $_->status == 429 } @r;
    is(scalar @no, 60 - $left, 'the others are 429');
    is($no[0]->problem, 'rate-limited', 'rate-limited');
    my ($n, $t) = $no[0]->header('ratelimit') =~ /r=(\d+);t=(\d+)/;
    is($n, 0, 'nothing is left');
    is($no[0]->header('retry-after'), $t, 'Retry-After is the end of the window');
    is($stack->http('second')->get('/case?limit=1')->status, 429, 'a quota is the tenant\'s, not the principal\'s');
    like($other->get('/case?limit=1')->header('ratelimit'), qr/r=39;/, 'another tenant has its own');
    $stack->nginx_reload;
    $_->close for $http, $other;
    is($http->get('/case?limit=1')->status, 429, 'a reload forgives nothing');
    $undo->();
    is($http->get('/case?limit=1')->status, 200, 'off again');
};

# --- what nginx itself answers
subtest 'nginx\'s own refusals are problem documents' => sub {
    my @codes = (400, 401, 403, 404, 405, 413, 414, 415, 421, 429, 500 .. 505);
    my $undo = edit(sub ($conf) {
        my $at = join '', map { "        location = /t$_ { return $_; }\n" } @codes, 494 .. 497;
        $conf =~ s/(server_name localhost;\n)/$1$at/ or die 'no server';
        return $conf;
    });
    my %becomes = (494 => 431, 495 => 400, 496 => 400, 497 => 400);
    for my $code (@codes, 494 .. 497) {
        my $r = $http->get("/t$code");
        my $want = $becomes{$code} // $code;
        is($r->status, $want, "$code is answered as $want");
        like($r->problem, qr/^[a-z-]+$/, "$code: a problem document");
        is($r->json->{status}, $want, "$code: which repeats it");
        my $after = $want =~ /^(429|503|504)$/ ? qr/^[1-3]$/ : qr/^$/;
        like($r->header('retry-after') // '', $after, "$code: Retry-After " . ($want =~ /^(429|503|504)$/ ? '' : 'is not there'));
    }
    $undo->();
    my $plain = Aegis::Http->new(url => $stack->e('AEGIS_URL') =~ s/^https/http/r);
    is($plain->get('/healthz')->problem, 'bad-request', 'plain HTTP on the TLS port too');
    is($http->get('/case/' . 'x' x 20_000)->problem, 'uri-too-long', 'a long target too');
    is($http->get('/case', headers => ['X-Y', 'x' x 20_000])->problem, 'headers-too-large', 'a long header too');
    is($http->get('/case', headers => [ map { ("X-$_", 'y' x 7000) } 1 .. 6 ])->problem, 'headers-too-large', 'many headers too');
};

subtest 'a body that stops arriving' => sub {
    my $undo = edit(sub ($conf) {
        $conf =~ s/(server_name localhost;\n)/$1        location = \/case\/create { aegis on; client_body_timeout 200ms; }\n/ or die 'no server';
        return $conf;
    });
    my $key = new_key();
    my $h = $http->with;
    my $r = $h->raw($h->render('POST', '/case/create', headers => ['Content-Type', 'application/json', 'Content-Length', 1000,
        'Idempotency-Key', $key], body => '{"title":"sl'), timeout => 20);
    is($r->status, 408, 'is answered 408, where nginx alone would say nothing') or diag($r->brief);
    is($r->problem, 'request-timeout', 'by a problem document');
    ok(!$h->{sock}, 'and the connection is closed');
    my $again = $http->write('POST', '/case/create', { title => 'slow', mode => 'manual' }, key => $key);
    is($again->status, 201, 'the same key does what it was for');
    is($again->header('idempotent-replayed'), undef, 'for the first time');
    $undo->();
};

subtest 'requests made to be read in two ways' => sub {
    my $auth = 'Authorization: Bearer ' . $stack->token . "\r\n";
    for my $c (@{ json_decode(slurp(root . '/t/data/http_raw.json')) }) {
        my ($what, $bytes, $status, $then) = @$c;
        my $write = $auth . "Content-Type: application/json\r\nIdempotency-Key: " . new_key() . "\r\n";
        $bytes =~ s/\@AUTH\@/$auth/;
        $bytes =~ s/\@WRITE\@/$write/;
        my $h = $http->with;
        my $r = $h->raw($bytes, timeout => 5);
        my %ok = map { $_ => 1 } ref $status ? @$status : $status;
        ok($ok{ $r->status }, "$what: " . (ref $status ? "@$status" : $status)) or diag($r->brief . ($r->{partial} // ''));
        like($r->problem, qr/^[a-z-]+$/, "$what: a problem document") if $r->status >= 400;
        next unless $then;
        # the connection is closed, or the next answer is of the next request
        my $next = $h->{sock} ? $h->raw($h->render(GET => '/healthz')) : undef;
        ok(!$next || $next->status == 0, "$what: the connection is closed") if $then eq 'close';
        is($next ? $next->body : '', '{"status":"ok"}', "$what: one request, one answer") if $then eq 'one';
    }
};

# --- HTTP/2
subtest 'HTTP/2' => sub {
    plan skip_all => 'this curl has no HTTP/2' unless run_ok([qw(curl --version)]) =~ /\bHTTP2\b/;
    my $undo = edit(sub ($conf) { $conf =~ s/(listen \S+ ssl);/$1 http2;/ or die 'no listen'; return $conf });
    my $curl = sub ($method, $path, %o) {
        my @h = map { ('-H', $_) } 'Authorization: Bearer ' . $stack->token, @{ $o{headers} // [] };
        my @body = defined $o{json} ? ('-H', 'Content-Type: application/json', '--data-binary', '@' . scratch() . '/body') : ();
        spew(scratch() . '/body', json_encode($o{json})) if @body;
        my @method = $method eq 'HEAD' ? '-I' : ('-X', $method);
        my $r = run(['curl', '-sS', '--http2', '-i', '--cacert', $stack->e('AEGIS_CA'), @method, @h, @body, $stack->e('AEGIS_URL') . $path], timeout => 20);
        my ($head, $text) = split /\r\n\r\n/, $r->{out}, 2;
        my ($proto, $status) = ($head // '') =~ m{^HTTP/(\S+) (\d+)};
        my %h = map { /^([^:]+): (.*)$/ ? (lc $1 => $2) : () } split /\r\n/, $head // '';
        return { proto => $proto // $r->{err}, status => $status // 0, h => \%h, body => $text // '' };
    };
    my $c = $curl->('POST', '/case/create', json => { title => 'two', mode => 'manual' }, headers => ['Idempotency-Key: ' . new_key()]);
    is("$c->{proto} $c->{status}", '2 201', 'create');
    is($c->{h}{etag}, '"1"', 'with its ETag');
    my $url = $c->{h}{location};
    my $g = $curl->('GET', $url);
    is("$g->{proto} $g->{status}", '2 200', 'read');
    my $h = $curl->('HEAD', $url);
    is("$h->{status} $h->{h}{'content-length'}", "200 $g->{h}{'content-length'}", 'HEAD');
    is($h->{body}, '', 'without a body');
    is($curl->('GET', $url, headers => ['If-None-Match: "1"'])->{status}, 304, 'a known version is 304');
    my $say = sub ($match) { $curl->('PATCH', "$url/transition", json => { event => 'start_analysis' }, headers => ['Idempotency-Key: ' . new_key(), "If-Match: $match"]) };
    is($say->('"7"')->{status}, 412, 'a wrong If-Match is 412');
    is($say->('"1"')->{status}, 200, 'a right one is 200');
    for my $q (['GET', '/nothing', 404], ['DELETE', $url, 405], ['BREW', $url, 501], ['GET', '/case?limit=0', 400]) {
        my $r = $curl->(@$q[0, 1]);
        is($r->{status}, $q->[2], "$q->[0] " . substr($q->[1], 0, 20) . ": $q->[2]");
        is($r->{h}{'content-type'}, 'application/problem+json', '  a problem document');
    }
    is($curl->('POST', '/case/create', json => { title => 'x' x 400_000 }, headers => ['Expect:', 'Idempotency-Key: ' . new_key()])->{status}, 413, 'a body that is too large is 413');
    is($curl->('OPTIONS', $url)->{h}{allow}, 'GET, HEAD, OPTIONS', 'OPTIONS');
    $undo->();
};

$stack->finish(allow => [qr/client sent|client prematurely closed/]);
done_testing;
