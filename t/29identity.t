# 29identity.t: who comes in and what for. API keys of both forms, their times
# and their rotation; client certificates; auth_request; a scope for each route
# and each event; the actor that only the credential names; and of every refusal
# a line in the audit log and a count. Nobody is anybody by default.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Def;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->own('identity');
my $http = $stack->http;
my $run = $stack->run_dir;
my $pg = $stack->pg;
my $keys = "$run/nginx/aegis_keys";
my $log = "$run/log/nginx-audit.log";
my ($uid, $gid) = (stat $keys)[4, 5];
my $keys_were = slurp($keys);

sub put_keys (@lines) {
    spew_into($keys, join "\n", $keys_were, @lines, '');
    chown $uid, $gid, $keys;
    $stack->nginx_reload;
}
sub as ($token) { return $http->with(token => $token) }
sub audit () { return map { json_decode($_) } split /\n/, slurp($log) }
sub count ($reason) { return $stack->metric('gateway', 'aegis_auth_refused_total', qr/^reason="\Q$reason\E"$/) // -1 }

# One request that is refused: its problem, the reason's count, the audit line.
sub refused ($what, $reason, $problem, $code, %who) {
    my ($before, $old) = (count($reason), scalar audit());
    my $r = $code->();
    is($r->problem, $problem, "$what: $problem") or diag($r->brief);
    is(count($reason), $before + 1, "$what: counted as $reason");
    wait_for('the audit log', 5, sub { audit() > $old }, quiet => 1);
    my @new = (audit())[$old .. audit() - 1];
    is(scalar @new, 1, "$what: one line in the audit log") or return $r;
    is_deeply({ map { $_ => $new[0]{$_} } 'refusal', 'status', 'request_id', keys %who },
        { refusal => $reason, status => $r->status, request_id => $r->header('x-request-id'), %who }, "$what: which says why and who");
    return $r;
}

subtest 'API keys' => sub {
    my %t = map { $_ => Aegis::Stack::new_token($_) } qw(fresh old early late unlisted);
    my $at = sub ($s) { my @g = gmtime(time + $s); sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $g[5] + 1900, $g[4] + 1, @g[3, 2, 1, 0] };
    my $line = sub ($id, @more) { Aegis::Stack::key_line($t{$id}, 'default', 'rotator', '*', @more) };
    put_keys($line->('old', 'not_after=' . $at->(3600)), $line->('fresh', 'not_before=' . $at->(-3600)),
        $line->('early', 'not_before=' . $at->(3600)), $line->('late', 'not_after=' . $at->(-1)));
    is(as($t{$_})->get('/case')->status, 200, "$_ is taken") for qw(fresh old);
    is(as($stack->token('second'))->get('/case')->status, 200, 'so is a token without an id');
    my $key = new_key();
    my $a = as($t{old})->write('POST', '/case/create', { title => 'rotated', mode => 'manual' }, key => $key);
    my $b = as($t{fresh})->write('POST', '/case/create', { title => 'rotated', mode => 'manual' }, key => $key);
    is($b->json->{case_id}, $a->json->{case_id}, 'the same principal on two keys has one set of idempotency keys');
    is($http->get('/case/' . $a->json->{case_id} . '/timeline')->json->{items}[0]{actor}, 'rotator', 'and is the actor');
    my %who = (tenant => '', principal => '', credential => '');
    refused('a key whose time is to come', 'not-yet-valid', 'unauthorized', sub { as($t{early})->get('/case') }, %who);
    refused('a key whose time has passed', 'expired', 'unauthorized', sub { as($t{late})->get('/case') }, %who);
    my $r = refused('no credential', 'missing', 'unauthorized', sub { as(undef)->get('/case') }, %who);
    is($r->header('www-authenticate'), 'Bearer realm="aegis"', 'and how to come in');
    my $flip = $t{fresh} =~ s/(.)\z/$1 eq 'A' ? 'B' : 'A'/er;
    for my $bad (['another key\'s secret', $t{fresh} =~ s/_fresh_/_old_/r], ['a secret with one character changed', $flip],
            ['an id that nobody has', $t{unlisted}], ['a secret alone', substr($t{fresh}, -43)],
            ['a secret that is too short', substr($t{fresh}, 0, -1)], ['a secret that is too long', "$t{fresh}x"],
            ['an id in upper case', $t{fresh} =~ s/fresh/FRESH/r], ['no id', $t{fresh} =~ s/fresh//r],
            ['the hash itself', (split / /, $line->('fresh'))[1]], ['a token with a blank in it', "$t{fresh} x"]) {
        my $x = refused($bad->[0], 'key-unknown', 'unauthorized', sub { as($bad->[1])->get('/case') }, %who);
        is($x->header('www-authenticate'), 'Bearer realm="aegis", error="invalid_token"', 'and that it was not taken');
    }
    for my $bad (['Basic', 'Basic ' . 'QTpC'], ['a scheme alone', 'Bearer'], ['no scheme', $t{fresh}]) {
        refused("$bad->[0]", 'malformed', 'unauthorized', sub { as(undef)->get('/case', headers => [Authorization => $bad->[1]]) }, %who);
    }
    is($http->get('/case', headers => [map { (Authorization => "Bearer $t{$_}") } qw(fresh old)])->status, 400, 'two credentials are none');
    is(as(undef)->get('/case', headers => [Authorization => "bEARER   $t{fresh}"])->status, 200, 'the scheme is written as one likes');
    put_keys($line->('fresh'));
    is(as($t{old})->get('/case')->status, 401, 'a key that is removed is out after a reload');
    is(as($t{fresh})->get('/case')->status, 200, 'the other stays');
};

# --- scopes
my @events = def_rows('events', 'AEGIS_EVENT');
subtest 'approving is not starting' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual');
    my $path = '/case/' . $c->id . '/transition';
    my %may = (starter => { map { $_ => 1 } qw(start_analysis plan_ready) }, approver => { map { $_ => 1 } qw(gate_approved gate_rejected) });
    for my $who (sort keys %may) {
        my $me = $stack->http($who);
        for my $e (@events) {
            my ($name, $scope) = @$e;
            my $before = $pg->fingerprint(case_id => $c->id);
            my $r = $me->write('PATCH', $path, { event => $name, expected_version => 99 });
            if ($may{$who}{$name}) {
                is($r->problem, 'version-conflict', "$who may say $name");
                next;
            }
            is($r->problem, 'forbidden', "$who may not say $name");
            like($r->json->{detail}, qr/\Q$scope\E/, 'the answer names the scope');
            like($r->header('www-authenticate'), qr/error="insufficient_scope", scope="\Q$scope\E"/, 'and so does the challenge');
            is_deeply($pg->fingerprint(case_id => $c->id), $before, 'and nothing changed');
        }
    }
    my %who = (tenant => 'default', principal => 'approver', credential => 'approver');
    refused('an event without its scope', 'event-scope', 'forbidden',
        sub { $stack->http('approver')->write('PATCH', $path, { event => 'start_analysis' }) }, %who);
    refused('a route without its scope', 'scope', 'forbidden',
        sub { $stack->http('reader')->write('PATCH', $path, { event => 'start_analysis' }) }, %who, principal => 'reader', credential => 'reader');
    my $starter = $stack->http('starter');
    is($starter->write('PATCH', $path, { event => 'explode' })->problem, 'schema-violation', 'an event that does not exist is a fault of the body');
    is($starter->write('PATCH', $path, '{')->problem, 'malformed-json', 'so is no JSON');
    is($starter->write('PATCH', $path, { event => 'gate_approved' }, if_match => '"99"')->problem, 'forbidden', 'the scope comes before If-Match');
    my $key = new_key();
    is($starter->write('PATCH', $path, { event => 'start_analysis' }, key => $key)->status, 200, 'what it may, it does');
    is($starter->write('PATCH', $path, { event => 'gate_approved' }, key => $key)->problem, 'forbidden', 'the scope comes before the key');
    my @wild = map { Aegis::Stack::new_token("wild$_") } 0 .. 2;
    put_keys(map { Aegis::Stack::key_line($wild[$_], 'default', "w$_", (qw(case:transition:* case:* case:read))[$_]) } 0 .. 2);
    for my $w ([0, 1, 0], [1, 1, 1], [2, 0, 1]) {
        my $me = as($wild[ $w->[0] ]);
        is($me->write('PATCH', $path, { event => 'gate_approved' })->status == 403 ? 0 : 1, $w->[1], "wildcard $w->[0] and an event");
        is($me->get('/case')->status == 403 ? 0 : 1, $w->[2], "wildcard $w->[0] and reading");
        is($me->write('POST', '/plan/generate', { case_id => $c->id })->status, 403, "wildcard $w->[0] and another module");
    }
};

subtest 'who acts is who authenticated' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual', actor => 'quickstart');
    for my $r (grep { $_->[5] ne 'none' } def_rows('routes', 'AEGIS_ROUTE')) {
        my ($id, $method, $path, $schema) = @$r[0, 1, 2, 5];
        my $body = { create => { title => 'x', mode => 'manual' }, transition => { event => 'force_park' },
            approve => { case_id => $c->id, plan_hash => 'h' }, cancel => {}, ask => {}, hint => Aegis::Case::hint(),
            document => { body => "# x\n\ny\n" } }->{$schema} // { case_id => $c->id };
        my $url = $path =~ s/\{id\}/$c->id/er;
        my $before = $pg->fingerprint;
        my $x = refused("$id for somebody else", 'actor', 'actor-mismatch',
            sub { $http->write($method, $url, { %$body, actor => 'root' }) }, principal => 'quickstart');
        is($x->status, 403, 'it is forbidden');
        is_deeply([ Aegis::Pg::changed($before, $pg->fingerprint) ], [], 'and nothing changed');
        isnt($http->write($method, $url, { %$body, actor => 'quickstart' })->status, 403, "$id in one's own name is not refused for it");
        $stack->quiet;
    }
    is($_->{actor}, 'quickstart', "$_->{event}: the timeline says who") for grep { $_->{kind} ne 'note' } $c->timeline;
    refused('another tenant in a body', 'tenant', 'forbidden', sub { $http->write('POST', '/case/create', { title => 'x', tenant => 'other' }) });
    refused('another tenant in a query', 'tenant', 'forbidden', sub { $http->get('/case?tenant=other') });
};

# --- client certificates
sub cert ($name, $subject, $san, $ca) {
    my $d = scratch('tls');
    run_ok(['openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', "$d/$name.key", '-subj', $subject,
        ($ca ? ('-out', "$d/$name.csr") : ('-x509', '-days', '2', '-out', "$d/$name.pem"))]);
    if ($ca) {
        spew("$d/$name.ext", "basicConstraints=CA:FALSE\nextendedKeyUsage=clientAuth\n" . ($san ? "subjectAltName=$san\n" : ''));
        run_ok(['openssl', 'x509', '-req', '-in', "$d/$name.csr", '-CA', "$d/$ca.pem", '-CAkey', "$d/$ca.key", '-CAcreateserial', '-days', '2',
            '-extfile', "$d/$name.ext", '-out', "$d/$name.pem"]);
    }
    return "$d/$name";
}

# Server blocks more, beside the one that is there.
sub with_server ($block) {
    return $stack->nginx_edit(sub ($t) { $t =~ s/\n\}\s*\z/\n$block\n}\n/r });
}

subtest 'client certificates' => sub {
    my $ca = cert('ca', '/CN=Test CA', '', '');
    cert('foreign', '/CN=Another CA', '', '');
    my %c = map { $_->[0] => cert(@$_) } ['byhash', '/CN=by hash', '', 'ca'], ['byuri', '/CN=by uri', 'URI:spiffe://shop/pager,DNS:x', 'ca'],
        ['bydn', '/O=Shop, Inc/CN=by dn', '', 'ca'], ['nobody', '/CN=nobody', 'URI:spiffe://shop/pager2', 'ca'],
        ['thief', '/CN=late', 'URI:spiffe://shop/pager', 'foreign'], ['late', '/CN=late', '', 'ca'];
    my ($print) = run_ok(['openssl', 'x509', '-in', "$c{byhash}.pem", '-noout', '-fingerprint', '-sha256']) =~ /=(\S+)/;
    my ($dn) = run_ok(['openssl', 'x509', '-in', "$c{bydn}.pem", '-noout', '-subject', '-nameopt', 'RFC2253']) =~ /^subject=\s*(.+)/;
    my $map = "$run/nginx/aegis_certs";
    spew($map, "# certificates\nsha256:$print default hash-user case:read\nuri:spiffe://shop/pager other uri-user *\n"
        . "dn:\"$dn\" default dn-user case:read,case:create\ndn:CN=late default late-user * not_after=2020-01-01T00:00:00Z\n");
    chown $uid, $gid, $map;
    chmod 0644, "$ca.pem";
    my %port = map { $_ => free_port } qw(verified mapless lax);
    my $server = sub ($p, $verify, $more) {
        "    server {\n        listen 127.0.0.1:$p ssl;\n        server_name localhost;\n        ssl_client_certificate $ca.pem;\n"
        . "        ssl_verify_client $verify;\n$more        include $run/conf/aegis_gateway.conf;\n    }\n" };
    my $undo = with_server($server->($port{verified}, 'optional', "        aegis_certs $map;\n") . $server->($port{mapless}, 'optional', '')
        . $server->($port{lax}, 'optional_no_ca', "        aegis_certs $map;\n"));
    my $with = sub ($who, $at = 'verified') {
        Aegis::Http->new(url => "https://127.0.0.1:$port{$at}", ca => $stack->e('AEGIS_CA'), ($who ? (cert => "$c{$who}.pem", key => "$c{$who}.key") : ())) };
    is($with->('byhash')->get('/case')->status, 200, 'a certificate is known by its fingerprint');
    is($with->('byhash')->write('POST', '/case/create', { title => 'x' })->status, 403, 'and may what its line says');
    my $r = $with->('byuri')->write('POST', '/case/create', { title => 'x', mode => 'manual' });
    is($r->json->{tenant}, 'other', 'by a URI among its names, with its tenant') or diag($r->brief);
    is($with->('byuri')->get('/case/' . $r->json->{case_id} . '/timeline')->json->{items}[0]{actor}, 'uri-user', 'and principal');
    is($with->('bydn')->write('POST', '/case/create', { title => 'x', mode => 'manual' })->status, 201, 'by its subject');
    refused('a certificate that is in no line', 'certificate-unknown', 'unauthorized', sub { $with->('nobody')->get('/case') });
    refused('a line whose time has passed', 'expired', 'unauthorized', sub { $with->('late')->get('/case') });
    refused('no certificate', 'missing', 'unauthorized', sub { $with->('')->get('/case') });
    refused('a certificate of another authority', 'nginx', 'bad-request', sub { $with->('thief')->get('/case') });
    is($with->('nobody')->get('/case', headers => [Authorization => 'Bearer ' . $stack->token])->status, 200, 'a key beside an unknown certificate is taken');
    is($with->('byhash', 'mapless')->get('/case')->status, 401, 'without aegis_certs a certificate means nothing');
    is($with->('thief', 'lax')->get('/case')->status, 401, 'nor does one that nginx did not verify');
    is($with->('byhash', 'lax')->get('/case')->status, 200, 'where one that it did is taken');
    $undo->();
};

# --- anything else
subtest 'auth_request' => sub {
    my ($front, $idp) = (free_port, free_port);
    # the identity provider: who has the cookie is who it says
    my $undo = with_server(<<"END");
    server {
        listen 127.0.0.1:$idp;
        location / {
            if (\$http_cookie != "session=good") { return 401; }
            add_header X-User   \$http_x_ask_user;
            add_header X-Tenant default;
            add_header X-Scopes "openid case:read  case:create";
            return 204;
        }
    }
    server {
        listen 127.0.0.1:$front;
        location = /auth {
            internal;
            proxy_pass http://127.0.0.1:$idp/;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
        }
        location / {
            auth_request     /auth;
            auth_request_set \$user   \$upstream_http_x_user;
            auth_request_set \$tenant \$upstream_http_x_tenant;
            auth_request_set \$scopes \$upstream_http_x_scopes;
            aegis_trusted_identity tenant=\$tenant principal=\$user scopes=\$scopes;
            aegis on;
        }
        # the same variables, and nobody who sets them
        location = /case {
            aegis_trusted_identity tenant=\$tenant principal=\$user scopes=\$scopes;
            aegis on;
        }
        error_page 401 403 /aegis-error;
        location = /aegis-error { internal; aegis_problem; }
    }
END
    my $me = Aegis::Http->new(url => "http://127.0.0.1:$front");
    my @good = (Cookie => 'session=good', 'X-Ask-User' => 'carol');
    my $r = $me->write('POST', '/case/create', { title => 'x', mode => 'manual' }, headers => [@good]);
    is($r->status, 201, 'who the identity provider knows comes in') or diag($r->brief);
    my $id = $r->json->{case_id};
    is_deeply([ @{ $me->get("/case/$id/timeline", headers => [@good])->json->{items}[0] }{qw(actor principal)} ], ['carol', 'carol'], 'under its name');
    is($r->json->{tenant}, 'default', 'of its tenant');
    refused('a scope that it does not give', 'scope', 'forbidden',
        sub { $me->write('PATCH', "/case/$id/transition", { event => 'force_park' }, headers => [@good]) }, principal => 'carol', credential => 'trusted');
    refused('nobody it knows', 'nginx', 'unauthorized', sub { $me->get("/case/$id") });
    refused('nobody it knows, with the provider\'s headers', 'nginx', 'unauthorized',
        sub { $me->get("/case/$id", headers => ['X-User' => 'carol', 'X-Tenant' => 'default', 'X-Scopes' => '*']) });
    refused('a location where nobody asks it', 'missing', 'unauthorized',
        sub { $me->get('/case', headers => [@good, 'X-User' => 'carol', User => 'carol', 'X-Tenant' => 'default', 'X-Scopes' => '*']) });
    refused('no name', 'missing', 'unauthorized', sub { $me->get("/case/$id", headers => [Cookie => 'session=good']) });
    refused('a name that is none', 'trusted-invalid', 'unauthorized', sub { $me->get("/case/$id", headers => [Cookie => 'session=good', 'X-Ask-User' => 'two words']) });
    refused('a name that is too long', 'trusted-invalid', 'unauthorized',
        sub { $me->get("/case/$id", headers => [Cookie => 'session=good', 'X-Ask-User' => 'x' x 129]) });
    refused('a name as workers have', 'trusted-invalid', 'unauthorized', sub { $me->get("/case/$id", headers => [Cookie => 'session=good', 'X-Ask-User' => 'Aegis:fsm']) });
    is($me->get("/case/$id", headers => [@good, Authorization => 'Bearer of-the-provider'])->status, 200, 'a bearer token may be the provider\'s');
    is($me->get("/case/$id", headers => [@good, Authorization => 'Bearer ' . $stack->token('other')])->status, 404, 'a key of ours goes first');
    $undo->();
};

# --- mistakes
subtest 'nginx -t says where' => sub {
    my $conf = slurp("$run/nginx/nginx.conf");
    my $h = 'a' x 64;
    my $file = scratch() . '/lines';
    my $many = 'not_after=2030-01-01T00:00:00Z';
    my @bad = (
        ['too few words',         'keys', "id1 $h default\n",                                 qr/a line is/],
        ['no hash',               'keys', "id1 abc default x *\n",                            qr/64 hex/],
        ['a hash that is none',   'keys', 'id1 ' . 'g' x 64 . " default x *\n",               qr/64 hex/],
        ['a token',               'keys', "aegis_id1_SECRETSECRET default x *\n",             qr/aegisctl key hash/],
        ['an id that is none',    'keys', "I_D $h default x *\n",                             qr/an id is/],
        ['a long id',             'keys', 'x' x 25 . " $h default x *\n",                     qr/an id is/],
        ['an id twice',           'keys', "id1 $h default x *\nid1 $h default y *\n",         qr/twice/, 2],
        ['a hash twice',          'keys', "$h default x *\n$h default y *\n",                 qr/twice/, 2],
        ['a scope that is none',  'keys', "id1 $h default x case:write\n",                    qr/no scope "case:write"/],
        ['scopes with a blank',   'keys', "id1 $h default x case:read, plan:read\n",          qr/commas/],
        ['a wild scope of nothing', 'keys', "id1 $h default x cases:*\n",                     qr/no scope/],
        ['an event that is none', 'keys', "id1 $h default x case:transition:explode\n",       qr/no scope/],
        ['a long tenant',         'keys', "id1 $h " . 't' x 64 . " x *\n",                    qr/63/],
        ['a tenant in Greek',     'keys', "id1 $h \xce\xb1 x *\n",                             qr/ASCII/],
        ['a worker\'s name',      'keys', "id1 $h default aegis:fsm *\n",                      qr/taken for a worker/],
        ['a time that is none',   'keys', "# one\n\nid1 $h default x * not_after=tomorrow\n", qr/not_after is not an RFC 3339/, 3],
        ['a time twice',          'keys', "id1 $h default x * $many $many\n",                 qr/twice/],
        ['times that cross',      'keys', "id1 $h default x * not_before=2031-01-01T00:00:00Z $many\n", qr/not after/],
        ['a word too many',       'keys', "id1 $h default x * soon\n",                        qr/not_before=TIME/],
        ['no matcher',            'certs', "$h default x *\n",                                qr/sha256:/],
        ['a short fingerprint',   'certs', "sha256:abc default x *\n",                        qr/64 hex/],
        ['a worker\'s name',      'certs', "dn:CN=x default aegis:fsm *\n",                   qr/taken for a worker/],
        ['an empty subject',      'certs', "dn: default x *\n",                               qr/begins with/],
        ['a subject twice',       'certs', "dn:CN=x default x *\ndn:\"CN=x\" default y *\n",  qr/twice/, 2],
        ['a subject without who', 'certs', "dn:\"CN=x y\"\n",                                 qr/a line is/],
    );
    for my $b (@bad) {
        my ($what, $kind, $text, $re, $line) = (@$b, 1);
        spew($file, $text);
        my $x = $stack->nginx_t($kind eq 'keys' ? $conf =~ s/(aegis_keys\s+)\S+;/$1$file;/r : $conf =~ s/(aegis_keys\s+\S+;)/$1\n    aegis_certs $file;/r);
        isnt($x->{rc}, 0, "$kind: $what is refused");
        like($x->{err}, $re, '  it says what');
        like($x->{err}, qr/aegis_$kind: \Q$file\E:$line: .* in .*nginx\.conf:\d+/, '  and where');
        unlike($x->{err}, qr/SECRET|aaaaaaaaaaaa/, '  and not the line itself');
    }
    my $at = sub ($text) { $conf =~ s/(aegis_keys\s+\S+;)/$1\n    $text/r };
    for my $b (
        ['a header is no identity',  $at->('aegis_trusted_identity tenant=a principal=$http_x_user scopes=*;'),     qr/\$http_x_user is what the client wrote/],
        ['in braces',                $at->('aegis_trusted_identity tenant=a principal="x${http_x_user}" scopes=*;'), qr/\$http_x_user is what the client wrote/],
        ['nor an argument',          $at->('aegis_trusted_identity tenant=$arg_t principal=$ssl_client_s_dn scopes=*;'), qr/\$arg_t is/],
        ['nor a name without its password', $at->('aegis_trusted_identity tenant=a principal=$remote_user scopes=*;'), qr/\$remote_user is/],
        ['nor everybody',            $at->('aegis_trusted_identity tenant=a principal=b scopes=*;'),                qr/everybody/],
        ['each part once',           $at->('aegis_trusted_identity tenant=a tenant=b scopes=*;'),                   qr/each of them once/],
        ['no other part',            $at->('aegis_trusted_identity tenant=a user=$ssl_client_s_dn scopes=*;'),      qr/each of them once/],
    ) {
        my ($what, $text, $re) = @$b;
        isnt($text, $conf, "$what: there is something to refuse");
        my $x = $stack->nginx_t($text);
        isnt($x->{rc}, 0, "$what: refused");
        like($x->{err}, $re, '  it says what');
        like($x->{err}, qr/\[emerg\].*\.conf:\d+/, '  and where');
    }
};

$stack->finish;
done_testing;
