# 63nginx.t: beside nginx's own modules. One nginx with a server for each way in
# which a user configures it: limits, addresses, fences, filters, redirects,
# subrequests, HTTP/2, several databases. Each is checked by its effect; what
# nginx refuses in front of the module is a problem document all the same.
use v5.36;
use lib 't/lib';
use IO::Socket::INET;
use Test::More;
use Aegis::Case;
use Aegis::Nginx;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $pg = $stack->pg;

# A second database in the same cluster: another installation, for all we care.
my $two = 'aegis_nginx_two';
{
    my $admin = $pg->dbh('postgres');
    $admin->do('SET client_min_messages = warning');
    $admin->do("DROP DATABASE IF EXISTS $two WITH (FORCE)");
    $admin->do("CREATE DATABASE $two");
    (my $url = $stack->e('DATABASE_ADMIN_URL')) =~ s{/aegis(?=\?|$)}{/$two};
    run_ok([build_dir . '/aegisctl', 'db', 'migrate', '--sql-dir', root . '/sql'], env => { DATABASE_URL => $url, san_env });
}
my $pg_two = sub ($sql, @bind) { $pg->dbh($two)->selectrow_array($sql, undef, @bind) };

my $http_block = <<'END';
    include @RUN@/conf/aegis_log.conf;
    aegis_zone          aegis:256k;
    aegis_database      "@DB@";
    aegis_keys          @RUN@/nginx/aegis_keys;
    aegis_cursor_secret @RUN@/nginx/cursor_secret;
    aegis_openapi       @RUN@/conf/openapi.json;
    ssl_certificate     @RUN@/tls/server.pem;
    ssl_certificate_key @RUN@/tls/server.key;
    limit_req_zone  $server_port zone=req:64k rate=1r/m;
    limit_req_zone  $server_port zone=slow:64k rate=10r/s;
    limit_conn_zone $server_port zone=conn:64k;
    limit_req_status 429;
    limit_conn_status 429;

    # 1: nothing beside it; 2: limits
    server { listen 127.0.0.1:@P1@; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/plain.log aegis; }
    server { listen 127.0.0.1:@P2@; include @RUN@/conf/aegis_gateway.conf;
        location /case/create { limit_req zone=req; aegis on; }
        location /case/       { limit_conn conn 1; aegis on; }
        location = /case      { limit_req zone=slow burst=20; aegis on; } }

    # 3: the address of the client is said by a proxy; 4: by the PROXY protocol
    server { listen 127.0.0.1:@P3@; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/real_ip.log aegis;
        set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For; allow 192.0.2.7; deny all; }
    server { listen 127.0.0.1:@P4@ proxy_protocol; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/proxy.log aegis;
        set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; }

    # 5: somebody else says who may; 6: either of two; 7: both
    map $http_x_pass $pass { default 401; yes 204; no 403; }
    server { listen 127.0.0.1:@P5@; include @RUN@/conf/aegis_gateway.conf; auth_request /_pass;
        location = /_pass { internal; auth_request off; if ($pass = 401) { return 401; } if ($pass = 403) { return 403; } return 204; } }
    server { listen 127.0.0.1:@P6@; include @RUN@/conf/aegis_gateway.conf; satisfy any; deny all; auth_request /_pass;
        location = /_pass { internal; satisfy all; allow all; auth_request off; if ($pass = 401) { return 401; } if ($pass = 403) { return 403; } return 204; } }
    server { listen 127.0.0.1:@P7@; include @RUN@/conf/aegis_gateway.conf; satisfy all; allow all; auth_request /_pass;
        location = /_pass { internal; auth_request off; if ($pass = 401) { return 401; } if ($pass = 403) { return 403; } return 204; } }

    # 8: filters
    server { listen 127.0.0.1:@P8@; include @RUN@/conf/aegis_gateway.conf;
        gzip on; gzip_types *; gzip_min_length 1; gzip_vary on; gunzip on; charset utf-8; charset_types *; expires 1h;
        add_header X-Front yes always; add_header X-Ok yes; }

    # 9: HTTP/2 over TLS; 10: and without
    server { listen 127.0.0.1:@P9@ ssl http2; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/h2.log aegis; }
    server { listen 127.0.0.1:@P10@ http2; include @RUN@/conf/aegis_gateway.conf; }

    # 11: redirects inside
    server { listen 127.0.0.1:@P11@; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/inside.log aegis; root @DIR@/tmp;
        location /api/ { rewrite ^/api(/.*)$ $1 break; aegis on; }
        location /old/ { rewrite ^/old(/.*)$ $1 last; }
        location /files/ { try_files $uri @cases; }
        location @cases { rewrite ^/files(/.*)$ $1 break; aegis on; }
        location /accel/ { proxy_pass http://accel/; }
        location /if/ { if ($arg_limit = 7) { add_header X-Seven yes; } rewrite ^/if(/.*)$ $1 break; aegis on; }
        location = /case/create { limit_except GET { deny 192.0.2.1; allow all; } aegis on; }
        location = /plan/generate { limit_except GET { deny all; } aegis on; }
        location /gone { return 410; } error_page 410 = @gone;
        location @gone { rewrite ^ /case/00000000-0000-4000-8000-000000000000 break; aegis on; }
        error_page 402 /paid; location = /paid { return 200 paid; } }
    upstream accel { server 127.0.0.1:@P12@; }
    server { listen 127.0.0.1:@P12@; location / { add_header X-Accel-Redirect $uri; return 200; } }

    # 13: a copy of each request to another installation; 14: that one; 15: the two by name
    server { listen 127.0.0.1:@P13@; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/mirror.log aegis;
        location /case/ { mirror /copy; aegis on; }
        location = /copy { internal; rewrite ^ $request_uri break; proxy_pass http://copy; } }
    upstream copy { server 127.0.0.1:@P14@; }
    server { listen 127.0.0.1:@P14@; aegis_database "@DB2@"; aegis_connections 1; aegis_group 1; include @RUN@/conf/aegis_gateway.conf; }
    server { listen 127.0.0.1:@P15@; server_name one.example; include @RUN@/conf/aegis_gateway.conf; }
    server { listen 127.0.0.1:@P15@; server_name two.example; aegis_database "@DB2@"; include @RUN@/conf/aegis_gateway.conf; }

    # 16: subrequests that the module answers: a fence, and a copy
    server { listen 127.0.0.1:@P16@; access_log @DIR@/log/sub.log aegis;
        location /wall { auth_request /_ask; auth_request_set $who $aegis_principal; add_header X-Who $who always; alias @DIR@/tmp/wall; }
        location = /_ask { internal; rewrite ^ /case? break; aegis on; aegis_quota 1 per=1d; }
        location /case/ { mirror /_twin; aegis on; }
        location = /_twin { internal; rewrite ^ /case/00000000-0000-4000-8000-000000000000 break; aegis on; } }

    # 17: bodies on disk; 18: small limits, an error page of the user's own
    server { listen 127.0.0.1:@P17@; include @RUN@/conf/aegis_gateway.conf;
        location /case/ { client_body_in_file_only on; aegis on; } }
    server { listen 127.0.0.1:@P18@; location / { aegis on; client_max_body_size 1k; }
        error_page 403 404 405 409 /mine.html; location = /mine.html { return 200 mine; }
        error_page 413 /aegis-error; location = /aegis-error { internal; aegis_problem; } }

    # 19: all of it at once
    server { listen 127.0.0.1:@P19@ ssl http2 proxy_protocol; include @RUN@/conf/aegis_gateway.conf; access_log @DIR@/log/all.log aegis;
        set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol; limit_req zone=slow burst=50 nodelay; limit_conn conn 50;
        auth_request /_pass; satisfy all; gzip on; gzip_types *; add_header Strict-Transport-Security max-age=1 always;
        location = /_pass { internal; auth_request off; return 204; } }
END

# Each log twice: the format's one variable, and the variables that conf/aegis_log.conf says it stands for.
my $vars = join(' ', slurp(root . '/conf/aegis_log.conf') =~ /^# (\'.*\')$/mg);
$http_block =~ s/^(.*aegis_log.conf;\n)/$1    log_format vars escape=json $vars;\n/ or die 'no logs';
$http_block =~ s/access_log (\S+) aegis;/access_log $1 aegis; access_log $1.vars vars;/g;

my $ngx = Aegis::Nginx->new(stack => $stack, name => 'beside');
(my $db_two = $ngx->fill('@DB@')) =~ s/dbname=aegis\b/dbname=$two/;
$ngx->{http} = $http_block =~ s/\@DB2\@/$db_two/gr;
mkdir $ngx->dir . '/tmp/wall';
spew($ngx->dir . '/tmp/wall/index.html', "behind the wall\n");
$ngx->start;
wait_for('the gateway to be ready', 20, sub { $ngx->http->get('/readyz')->status == 200 && $ngx->http(14)->get('/readyz')->status == 200 })
    or BAIL_OUT('nginx does not become ready: ' . $ngx->http->get('/readyz')->brief);

sub lines ($file) { return scalar(() = slurp($file) =~ /\n/g) }

# Requests as they are, each on a connection of its own.
sub raw ($port, @requests) {
    for (@requests) {
        my $s = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die "connect: $@";
        print $s $_;
        shutdown $s, 1;
        1 while sysread $s, my $answer, 4096;
    }
}

sub is_problem ($r, $status, $type, $what) {
    is($r->status, $status, "$what: $status");
    is($r->problem, $type, "$what: as a problem document") or diag($r->brief);
}

sub create ($http, %more) { return $http->write('POST', '/case/create', { title => 'beside nginx', mode => 'manual' }, %more) }

subtest 'limit_req, limit_conn' => sub {
    my $h = $ngx->http(2);
    is(create($h)->status, 201, 'the first request of a minute is answered');
    my $r = create($h);
    is_problem($r, 429, 'rate-limited', 'the second');
    like($r->header('retry-after') // '', qr/^\d+$/, 'with Retry-After');
    my @r = $h->crowd([ map { { method => 'GET', path => '/case?limit=1' } } 1 .. 6 ], connections => 6);
    is((grep { $_->status == 200 } @r), 6, 'requests that limit_req delays are answered, later');
    my $c = Aegis::Case->create($ngx->http, mode => 'manual');
    my $slow = $h->open_socket;
    my $bytes = $h->render('PATCH', '/case/' . $c->id . '/transition', json => { event => 'force_park' }, headers => ['Idempotency-Key', new_key()]);
    syswrite $slow, substr $bytes, 0, -3;
    # accepted after it, answered after it: so the slow one is counted before anything else is asked
    is($h->with->get('/healthz')->status, 200, 'another connection is answered meanwhile');
    ok(wait_for('the second connection to be one too many', 10, sub { $h->get('/case/' . $c->id)->status == 429 }), 'limit_conn refuses');
    is_problem($h->get('/case/' . $c->id), 429, 'rate-limited', 'one connection too many');
    my $half = $h->with;
    $half->{sock} = $slow;
    my $late = $half->raw(substr($bytes, -3));
    is($late->status, 200, 'the one that was there is answered') or diag($late->brief);
    is($h->get('/case/' . $c->id)->status, 200, 'and makes room');
};

subtest 'real_ip, proxy_protocol' => sub {
    my $h = $ngx->http(3);
    is($h->get('/case', headers => ['X-Forwarded-For', '192.0.2.7'])->status, 200, 'the right address comes in');
    is_problem($h->get('/case', headers => ['X-Forwarded-For', '192.0.2.8']), 403, 'forbidden', 'another address');
    is_problem($h->get('/case'), 403, 'forbidden', 'the proxy itself');
    is(($ngx->log_lines('real_ip.log'))[0]{remote}, '192.0.2.7', 'the access log has it');
    my $p = $ngx->http(4);
    my $r = $p->raw("PROXY TCP4 203.0.113.9 127.0.0.1 4000 443\r\n" . $p->render('GET', '/case', headers => [Connection => 'close']));
    is($r->status, 200, 'a request behind a PROXY line');
    ok(wait_for('its log line', 5, sub { $ngx->log_lines('proxy.log') }), 'is logged');
    is(($ngx->log_lines('proxy.log'))[0]{remote}, '203.0.113.9', 'with the address that the line says');
};

subtest 'auth_request, satisfy' => sub {
    for my $case ([5, yes => 200], [5, no => 403, 'forbidden'], [5, '' => 401, 'unauthorized'], [6, yes => 200],
                  [6, no => 403, 'forbidden'], [6, '' => 401, 'unauthorized'], [7, yes => 200], [7, no => 403, 'forbidden']) {
        my ($n, $pass, $status, $type) = @$case;
        my $name = { 5 => 'auth_request', 6 => 'satisfy any', 7 => 'satisfy all' }->{$n} . " says '$pass'";
        my $r = create($ngx->http($n), headers => ['X-Pass', $pass]);
        if ($type) { is_problem($r, $status, $type, $name) }
        else { is($r->status, 201, "$name: a case is made") or diag($r->brief) }
    }
    is_problem($ngx->http(5, token => undef)->get('/case', headers => ['X-Pass', 'yes']), 401, 'unauthorized', 'behind the fence the module still asks who');
};

subtest 'gzip, gunzip, charset, expires, add_header' => sub {
    my $h = $ngx->http(8);
    my @gz = ('Accept-Encoding', 'gzip');
    my $r = create($h, headers => [@gz]);
    is($r->status, 201, 'a case is made');
    is($r->header('etag'), '"1"', 'its tag is strong');
    is($r->header('content-encoding'), undef, 'because it is not compressed');
    is_deeply([ map { scalar $r->header($_) } qw(X-Front X-Ok) ], [qw(yes yes)], 'add_header adds');
    my $id = $r->json->{case_id};
    $r = $h->get("/case/$id", headers => [@gz]);
    is($r->header('etag'), '"1"', 'so is that of a GET');
    like(join(', ', $r->all('cache-control')), qr/^no-cache, private\b/, 'expires adds to it and takes nothing away');
    is($h->get("/case/$id", headers => ['If-None-Match', '"1"', @gz])->status, 304, 'which is not modified');
    my $p = $h->write('PATCH', "/case/$id/transition", { event => 'force_park' }, if_match => $r->header('etag'), headers => [@gz]);
    is($p->status, 200, 'the tag is good for If-Match');
    $r = $h->get('/case/' . uuid, headers => [@gz]);
    is_deeply([ $r->status, map { scalar $r->header($_) } qw(X-Front X-Ok) ], [404, 'yes', undef], 'add_header always is on refusals, the other is not');
    $r = $h->get('/openapi.json', headers => [@gz]);
    is($r->header('content-encoding'), 'gzip', 'what may be kept may be compressed');
    like($r->header('vary') // '', qr/accept-encoding/i, 'and says so');
};

sub curl (@args) {
    my $r = run(['curl', '-sS', '-m', '20', '--cacert', $stack->e('AEGIS_CA'), '-H', 'Authorization: Bearer ' . $stack->token,
        '-w', '\n%{http_version} %{http_code} %{content_type}', @args]);
    diag($r->{err}) if $r->{rc} ne '0';
    my ($version, $code, $type) = $r->{out} =~ /\n(\S+) (\d+) (\S*)\z/;
    return ($version, $code, $type, $r->{out} =~ s/\n[^\n]*\z//r);
}

subtest 'HTTP/2' => sub {
    for my $way (['over TLS', 'https://127.0.0.1:' . $ngx->port(9), '--http2'], ['without TLS', 'http://127.0.0.1:' . $ngx->port(10), '--http2-prior-knowledge']) {
        my ($name, $url, @h2) = @$way;
        my @json = ('-H', 'Content-Type: application/json');
        my $key = new_key();
        my @r = curl(@h2, @json, '-H', "Idempotency-Key: $key", '-d', '{"title":"by http2","mode":"manual"}', "$url/case/create");
        is("@r[0, 1]", '2 201', "$name: a case is made");
        my $id = eval { json_decode($r[3])->{case_id} } // '';
        is_deeply([ (curl(@h2, @json, '-H', "Idempotency-Key: $key", '-d', '{"title":"by http2","mode":"manual"}', "$url/case/create"))[0, 1, 3] ],
            [2, 201, $r[3]], "$name: and is replayed");
        is(join(' ', (curl(@h2, "$url/case/$id"))[0, 1]), '2 200', "$name: and read");
        is(join(' ', (curl(@h2, '-H', 'If-None-Match: "1"', "$url/case/$id"))[0, 1]), '2 304', "$name: and not modified");
        is(join(' ', (curl(@h2, '-X', 'PATCH', @json, '-H', 'If-Match: "9"', '-H', 'Idempotency-Key: ' . new_key(), '-d', '{"event":"force_park"}', "$url/case/$id/transition"))[0 .. 2]),
            '2 412 application/problem+json', "$name: another version is 412");
        is(join(' ', (curl(@h2, '-I', "$url/case/$id"))[0, 1]), '2 200', "$name: HEAD");
        is(join(' ', (curl(@h2, '-X', 'DELETE', "$url/case/$id"))[0 .. 2]), '2 405 application/problem+json', "$name: a method that is not there");
        # curl 7.88 does not take an answer before the end of what it sends, without TLS
        next if $url !~ /^https/;
        my $large = spew(scratch() . '/large.json', '{"title":"' . 'x' x 300_000 . '"}');
        is(join(' ', (curl(@h2, @json, '-H', 'Idempotency-Key: ' . new_key(), '-d', "\@$large", "$url/case/create"))[0 .. 2]),
            '2 413 application/problem+json', "$name: too large a body is nginx's refusal, as a problem document");
    }
  SKIP: {
        skip 'h2load is not installed', 3 unless have('h2load');
        my $body = spew(scratch() . '/body.json', '{"title":"by h2load","mode":"manual","tags":["h2load"]}');
        my $was = $pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE tags @> '["h2load"]'});
        my $r = run(['h2load', '-n', 400, '-c', 4, '-m', 32, '-H', 'Authorization: Bearer ' . $stack->token, 'https://127.0.0.1:' . $ngx->port(9) . '/case?limit=1']);
        like($r->{out}, qr/status codes: 400 2xx, 0 3xx, 0 4xx, 0 5xx/, '400 GETs as 32 streams of 4 connections are all answered') or diag($r->{out} . $r->{err});
        # one key: one effect, and the other 199 hear of it or are told to wait
        $r = run(['h2load', '-n', 200, '-c', 4, '-m', 32, '-H', 'Authorization: Bearer ' . $stack->token, '-H', 'Content-Type: application/json',
            '-H', 'Idempotency-Key: ' . new_key(), '-d', $body, 'https://127.0.0.1:' . $ngx->port(9) . '/case/create']);
        my ($ok, $busy) = $r->{out} =~ /status codes: (\d+) 2xx, 0 3xx, (\d+) 4xx, 0 5xx/ or diag($r->{out} . $r->{err});
        is(($ok // 0) + ($busy // 0), 200, "200 POSTs with one key are answered, $ok of them with its case");
        is($pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE tags @> '["h2load"]'}) - $was, 1, 'which is there once');
    }
    ok(wait_for('the log', 5, sub { grep { $_->{request} eq 'POST /case/create HTTP/2.0' && $_->{status} == 201 } $ngx->log_lines('h2.log') }), 'the access log says HTTP/2.0');
};

subtest 'redirects inside' => sub {
    my $h = $ngx->http(11);
    my $id = Aegis::Case->create($ngx->http, mode => 'manual')->id;
    for my $way ('/api', '/old', '/files', '/accel', '/if') {
        is($h->get("$way/case/$id")->json->{case_id}, $id, "GET $way/case/{id} reads the case");
    }
    my $r = $h->get('/if/case?limit=7');
    is_deeply([ $r->status, scalar $r->header('x-seven') ], [200, 'yes'], 'an if beside it takes effect');
    is(($h->get('/if/case?limit=6'))->header('x-seven'), undef, 'or not');
    for my $way ('/api', '/old', '/files', '/if') {
        $r = $h->write('POST', "$way/case/create", { title => "by $way", mode => 'manual' });
        is($r->status, 201, "POST $way/case/create makes one") or diag($r->brief);
    }
    is($h->write('POST', '/case/create', { title => 'by limit_except', mode => 'manual' })->status, 201, 'whom limit_except allows is answered by the module');
    is_problem($h->get('/case/create'), 405, 'method-not-allowed', 'as is what it does not limit');
    is_problem($h->write('POST', '/plan/generate', { case_id => $id }), 403, 'forbidden', 'whom it denies is not');
    is_problem($h->get('/gone'), 404, 'not-found', 'an error_page that leads to the module');
    my ($line) = grep { $_->{request} =~ m{ /accel/} } $ngx->log_lines('inside.log');
    is($line->{case_id}, $id, 'the access log has the case after a redirect');
};

subtest 'several databases' => sub {
    my ($one, $other) = map { my $name = $_; sub ($m, @a) { $ngx->http(15)->$m(@a, headers => [Host => "$name.example"]) } } qw(one two);
    my $r = $one->('write', 'POST', '/case/create', { title => 'in one', mode => 'manual' });
    is($r->status, 201, 'a case in one');
    my $id = $r->json->{case_id};
    is($one->('get', "/case/$id")->status, 200, 'is in one');
    is($other->('get', "/case/$id")->status, 404, 'and not in the other');
    $r = $other->('write', 'POST', '/case/create', { title => 'in two', mode => 'manual' });
    $id = $r->json->{case_id};
    is($pg_two->('SELECT title FROM aegis.ops_case WHERE case_id = ?', $id), 'in two', 'a case of the other is in its database');
    is($one->('get', "/case/$id")->status, 404, 'and not in one');
    # 2 + 2 of the http level, 1 + 2 and 2 + 2 of two servers' own
    is($pg->one('SELECT count(*) FROM pg_stat_activity WHERE usename = ? AND datname = ?', 'aegis_gateway', $two), 7, 'each has its own connections');
};

subtest 'mirror' => sub {
    my $key = new_key();
    my $r = create($ngx->http(13), key => $key);
    is($r->status, 201, 'a case is made');
    ok(wait_for('the copy', 10, sub { $pg_two->('SELECT count(*) FROM aegis.idempotency WHERE key = ?', $key) }), 'and again, in the other installation');
    is($pg_two->(q{SELECT count(*) FROM aegis.ops_case WHERE title = 'beside nginx'}), 1, 'once');
    my $id = $r->json->{case_id};
    $ngx->http(13)->write('PATCH', "/case/$id/transition", { event => 'force_park' });
    ok(wait_for('the log', 5, sub { 2 == (my @l = $ngx->log_lines('mirror.log')) }), 'two lines are logged, not four');
    is_deeply([ map { $_->{case_id} } $ngx->log_lines('mirror.log') ], [ $id, $id ], 'about the case that was asked for');
};

subtest 'subrequests that the module answers' => sub {
    my $h = $ngx->http(16);
    my $r = $h->get('/wall/index.html');
    is("$r->{status} $r->{body}", "200 behind the wall\n", 'a file behind it is served to who has a key');
    is($r->header('x-who'), 'quickstart', 'auth_request_set has the principal');
    is($h->get('/wall/index.html')->status, 200, 'again and again: a quota does not count what asks for somebody');
    $r = $ngx->http(16, token => 'nonsense')->get('/wall/index.html');
    is($r->status, 401, 'and to nobody else');
    like($r->header('www-authenticate') // '', qr/^Bearer realm="aegis", error="invalid_token"/, 'with what the module asks for');
    my $id = Aegis::Case->create($ngx->http, mode => 'manual')->id;
    is($h->get("/case/$id")->json->{case_id}, $id, 'a request with a mirror that the module answers too');
    is($h->write('PATCH', "/case/$id/transition", { event => 'force_park' })->status, 200, 'and a write');
    ok(wait_for('the log', 5, sub { 2 == grep { $_->{request} =~ m{ /case/} } $ngx->log_lines('sub.log') }), 'are logged');
    is_deeply([ map { $_->{case_id} } grep { $_->{request} =~ m{ /case/} } $ngx->log_lines('sub.log') ], [ $id, $id ], 'each with its own case, not the mirror\'s');
};

subtest 'bodies and error pages' => sub {
    is(create($ngx->http(17))->status, 201, 'a body on disk is read');
    my $h = $ngx->http(17);
    is($h->request('POST', '/case/create', body => "2a\r\n" . '{"title": "in two chunks", "mode":"manual"' . "\r\n1\r\n}\r\n0\r\n\r\n",
        headers => ['Transfer-Encoding', 'chunked', 'Content-Length', undef, 'Idempotency-Key', new_key()])->status, 201, 'and one in chunks');
    $h = $ngx->http(18);
    is_problem($h->get('/case/' . uuid), 404, 'not-found', 'an error_page of the user\'s does not take the module\'s answer');
    is_problem($h->request('DELETE', '/case'), 405, 'method-not-allowed', 'nor');
    is_problem($h->write('POST', '/case/create', { title => 'x' x 2000 }), 413, 'too-large', 'a body that a location allows not');
};

subtest 'all of it at once' => sub {
    my $url = 'https://127.0.0.1:' . $ngx->port(19);
    my @r = curl('--http2', '--haproxy-protocol', '-H', 'Content-Type: application/json', '-H', 'Idempotency-Key: ' . new_key(),
        '-d', '{"title":"all at once","mode":"manual"}', "$url/case/create");
    is("@r[0, 1]", '2 201', 'a case is made');
    my $id = eval { json_decode($r[3])->{case_id} } // '';
    ok(wait_for('the log', 5, sub { $ngx->log_lines('all.log') }), 'it is logged');
    my ($line) = $ngx->log_lines('all.log');
    is($line->{case_id}, $id, 'with its id');
};

subtest 'a line of the log is what its variables are' => sub {
    my $h = $ngx->http;
    $h->get('/case?limit=5&token=secret', headers => ['User-Agent', qq(a "quoted" \\ one\t\x01\x1f\x7f \xff\xc3\xa9)]);
    $h->get('/nowhere"\\', headers => ['User-Agent', 'x' x 1500]);
    $h->get('/case', headers => ['Authorization', undef]);
    $h->get('/case', headers => ['Authorization', 'Bearer nobody', 'User-Agent', '']);
    $h->request('PATCH', '/case/' . uuid . '/transition', body => '{"event":"resume"}', headers => ['Idempotency-Key', new_key()]);
    my $c = create($h)->json->{case_id};
    my $key = new_key();
    $h->write('PATCH', "/case/$c/transition", { event => 'start_analysis' }, key => $key) for 1, 2;
    $h->get("/case/$c");
    $h->get('/healthz');
    raw($ngx->port(1), "GET\r\n\r\n", "GET /case HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n", "GET /case\r\n");
    my $n = 0;
    for my $file (sort glob $ngx->dir . '/log/*.log.vars') {
        my $is = $file =~ s/\.vars$//r;
        wait_for("$is to be written", 5, sub { lines($is) == lines($file) });
        is(slurp($is), slurp($file), (split m{/}, $is)[-1] . ' is the same by variables');
        $n += lines($is);
    }
    cmp_ok($n, '>', 40, "$n lines of them");
    like(slurp($ngx->dir . '/log/plain.log'), qr/"request":"GET \/case","tls".*"agent":"a \\"quoted\\" /, 'what is quoted is escaped, and no query is there');
};

$pg->dbh($two)->disconnect;
$ngx->finish;
$pg->dbh('postgres')->do("DROP DATABASE $two WITH (FORCE)");
$stack->finish;
done_testing;
