# 29jwt.t: bearer JWTs through a real nginx, with keys from a file and from an
# https server that rotates, hangs, fails and lies. Others get their answers
# while it hangs; old keys are kept until max_stale, then JWTs are refused and
# come back by themselves; a worker that is to end does not wait for it.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Jwt;
use Aegis::JwksServer;
use Aegis::Nginx;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $dir = scratch('jwks');
my $keys = scratch('keys');
my $tls = $stack->run_dir . '/tls';
my $server = Aegis::JwksServer->new(dir => $dir, cert => "$tls/server.pem", key => "$tls/server.key");
my %k = (rs => make_jwk($keys, 'RS256', 'rs-1'), es => make_jwk($keys, 'ES256', 'es-1'), ed => make_jwk($keys, 'EdDSA', 'ed-1'));
my ($new, $newer, $evil) = map { make_jwk($keys, 'ES256', $_) } 'es-2', 'es-3', 'es-1';
my $first = jwks(values %k);
$server->put($_, 'set', $first) for qw(main short six);
$server->put('none', 'status-500', 'sorry');
$server->start;

my $jwt = 'aegis_jwt issuer=https://issuer.example audience=aegis';
my $ca = 'ca=' . $stack->e('AEGIS_CA');
my $http = <<"CONF" =~ s/URL\((\w+)\)/$server->url($1)/ger;
    aegis_database "\@DB\@";
    $jwt;
    server { listen 127.0.0.1:\@P1\@; aegis_keys \@RUN\@/nginx/aegis_keys;
             aegis_jwks URL(main) $ca early=1s refresh=1h max_stale=2h timeout=30s; location / { aegis on; } }
    server { listen 127.0.0.1:\@P2\@; aegis_jwks URL(short) $ca refresh=1s max_stale=3s timeout=1s; location / { aegis on; } }
    server { listen 127.0.0.1:\@P3\@; aegis_jwks \@DIR\@/keys.json refresh=1s; $jwt algs=ES256,EdDSA leeway=0 tenant_claim=org scope_claim=scp;
             location / { aegis on; } }
    server { listen 127.0.0.1:\@P4\@; aegis_keys \@RUN\@/nginx/aegis_keys; aegis_jwks URL(none) $ca refresh=1s; location / { aegis on; } }
    server { listen 127.0.0.1:\@P5\@; aegis_jwks URL(main) early=1s; location / { aegis on; } }
    server { listen 127.0.0.1:\@P6\@; aegis_jwks URL(six) $ca refresh=1s max_stale=1h; location / { aegis on; } }
CONF
my $nginx = Aegis::Nginx->new(stack => $stack, name => 'jwt', http => $http);
$nginx->file('keys.json', $first);

my %claims = (iss => 'https://issuer.example', aud => 'aegis', sub => 'u-1', tenant => 'default', scope => 'case:read', jti => 'token-1');
sub token ($key, %change) {
    my %c = (%claims, exp => time + 300, %change);
    delete @c{ grep { !defined $c{$_} } keys %c };
    return jwt($key, \%c);
}
my %t = map { $_ => token($k{$_}) } keys %k;

# The answer to a read with a token, at the n-th server.
sub ask ($token, $n = 1, $path = '/case/list') {
    my $c = $nginx->http($n, token => $token);
    return $c->get($path eq '/case/list' ? '/case/00000000-0000-4000-8000-000000000000' : $path);
}
# 404 is the answer of the database: the token was good
sub good ($token, $n = 1) { return ask($token, $n)->status == 404 }
sub counter ($name, $labels) {
    my $text = $nginx->http(1, token => undef)->get('/metrics')->body;
    return $text =~ /^\Q$name\E\{\Q$labels\E\} (\d+)$/m ? $1 : 0;
}
sub fetched ($result) { return counter('aegis_jwks_fetch_total', qq{result="$result"}) }

subtest 'nginx -t' => sub {
    is($nginx->check($nginx->text)->{rc}, 0, 'the configuration of this suite is fine') or diag($nginx->check($nginx->text)->{err});
    my $dead = $server->url('main') =~ s/:\d+/':' . free_port()/er;
    is($nginx->check($nginx->text =~ s/\Q@{[$server->url('main')]}\E/$dead/gr)->{rc}, 0, 'a URL is not asked');
};

$nginx->start;

subtest 'who asks is what a token says' => sub {
    ok(wait_for('the first keys', 15, sub { good($t{es}) }), 'keys are fetched at the start');
    ok(good($t{$_}), "a token of $k{$_}{alg} is good") for sort keys %k;
    ok(good($t{rs}), 'and once more, when it is known');
    my $w = token($k{es}, sub => 'writer', scope => ['case:create', 'case:read', 'openid', '*']);
    my $c = $nginx->http(1, token => $w);
    my $r = $c->write(POST => '/case/create', { title => 'by a token', mode => 'manual' });
    is($r->status, 201, 'a scope of the token allows its route') or diag($r->brief);
    my $id = $r->json->{case_id};
    is($stack->pg->one("SELECT actor FROM aegis.case_timeline WHERE case_id = '$id' ORDER BY version LIMIT 1"), 'writer', 'its principal is the actor');
    is($c->write(PATCH => "/case/$id/transition", { event => 'start_analysis' })->status, 403, 'a bare * of an issuer is no scope of ours');
    is($nginx->http(1, token => $t{es})->write(POST => '/case/create', { title => 'x' })->status, 403, 'what the token lacks is forbidden');
    is(ask(token($k{es}, tenant => 'elsewhere'), 1, "/case/$id")->status, 404, 'another tenant does not see it');
    is(ask(token($k{es}), 1, "/case/$id")->status, 200, 'its own does');
    is(ask($stack->token)->status, 404, 'an API key is as good beside tokens');
};

subtest 'refused' => sub {
    for my $x (['expired', 'jwt-expired', token($k{es}, exp => time - 100)], ['not valid yet', 'jwt-not-yet-valid', token($k{es}, nbf => time + 500)],
        ['of another issuer', 'jwt-issuer', token($k{es}, iss => 'https://evil.example')], ['for another audience', 'jwt-audience', token($k{es}, aud => 'shop')],
        ['without a tenant', 'jwt-tenant', token($k{es}, tenant => undef)], ['of a worker\'s name', 'jwt-principal', token($k{es}, sub => 'aegis:exec')], ['of another key with the same kid', 'jwt-signature', token($evil)],
        ['with alg none', 'jwt-algorithm', b64u('{"alg":"none"}') . '.' . b64u(json_encode({ %claims, exp => time + 300 })) . '.AA'],
        ['with crit', 'jwt-critical', jwt($k{es}, { %claims, exp => time + 300 }, { crit => ['exp'] })]) {
        my $before = counter('aegis_auth_refused_total', qq{reason="$x->[1]"});
        my $r = ask($x->[2]);
        is($r->status, 401, "a token $x->[0] is refused");
        like($r->header('WWW-Authenticate'), qr/^Bearer realm="aegis", error="invalid_token"/, 'with a challenge');
        is(counter('aegis_auth_refused_total', qq{reason="$x->[1]"}), $before + 1, "and counted as $x->[1]");
        unlike($r->body, qr/\Q$x->[2]\E/, 'and is not repeated');
    }
    is(ask($t{es} . 'x')->status, 401, 'a changed token is not the known one');
    is(ask($t{rs}, 3)->status, 401, 'an algorithm that this server does not list is refused');
    is(ask($t{es}, 3)->status, 401, 'a tenant under another name is none');
    ok(good(token($k{es}, org => 'default', scp => ['case:read']), 3), 'claims may have other names');
    my $soon = token($k{es}, org => 'default', scp => 'case:read', exp => time + 2);
    ok(good($soon, 3), 'a token that ends soon is good');
    ok(wait_for('its end', 10, sub { ask($soon, 3)->status == 401 }), 'and is not known any longer than it lives');
    is(ask($t{es}, 5)->status, 503, 'a server whose certificate is not trusted gives no keys');
};

subtest 'keys rotate' => sub {
    my $t2 = token($new);
    is(ask($t2)->status, 401, 'a token of a key that is not published is refused');
    $server->put(main => 'set', jwks(@k{qw(rs ed)}, $new));
    ok(wait_for('the new key', 20, sub { good(token($new)) || do { ask(token({ %$new, kid => 'k-' . new_key() })); 0 } }),
        'a kid that is not known is looked for, and the key found');
    ok(good($t{ed}), 'a key that stayed is good');
    is(ask($t{es})->status, 401, 'a key that went is not, though its token was known');
    my $n = $server->count('main set') + $server->count('main 304');
    my $many = $nginx->http(1, token => undef);
    $many->with(token => token({ %$new, kid => "stranger-$_" }))->get('/case/00000000-0000-4000-8000-000000000000') for 1 .. 40;
    cmp_ok($server->count('main set') + $server->count('main 304') - $n, '<', 15, 'strangers cannot make it ask at each request');
};

subtest 'a server that hangs' => sub {
    $server->put(main => 'hang');
    ok(wait_for('it to hang', 20, sub { ask(token({ %$newer, kid => new_key() })); $server->count('main hang') }), 'a look at the server hangs');
    my $ok = grep { good($_ % 2 ? $t{ed} : $stack->token) } 1 .. 60;
    is($ok, 60, 'others get their answers');
    is($nginx->http(1, token => undef)->get('/livez')->status, 200, 'and so does a probe');
    ok(good(token($new)), 'a token that has to be verified, too');
    is($server->count('main hang gone'), 0, 'while the server holds its connection');
    my @old = map { $_->{pid} } $nginx->workers;
    ok($nginx->reload, 'a reload does not wait for it');
    ok(!grep({ alive($_) } @old), 'the old worker is gone');
    ok(good($t{ed}), 'and the new one has keys at once: they are shared');
    is($server->count('main hang'), 1, 'without having asked');
    ok(wait_for('it to hang again', 20, sub { ask(token({ %$newer, kid => new_key() })); $server->count('main hang') > 1 }), 'a second look hangs');
    is($server->count('main hang gone'), 1, 'the first was given up');
    is($nginx->stop, 0, 'a stop ends while it hangs');
    $nginx->start;
    $server->put(main => 'set');
};

subtest 'a server that fails' => sub {
    ok(wait_for('keys', 15, sub { good($t{ed}) }), 'keys are there');
    my $look = sub ($result) {
        my $n = fetched($result);
        return wait_for("a look that ends with $result", 20, sub { ask(token({ %$new, kid => new_key() })); fetched($result) > $n });
    };
    for my $x (['status-500', 'status'], ['status-404', 'status'], ['moved', 'status'], ['big', 'too-large'], ['set', 'invalid', '<html>sorry</html>'],
        ['set', 'invalid', json_encode({ keys => [{ kty => 'oct', k => 'AAAA' }] })], ['set', 'invalid', '{"keys":[]}']) {
        $server->put(main => $x->[0], $x->[2]);
        ok($look->($x->[1]), "$x->[0] is $x->[1]");
        ok(good($t{ed}), 'and the keys at hand are kept');
    }
    is($server->count('other set') + $server->count('other moved'), 0, 'a redirection is not followed');
    $server->put(main => 'set', 'sorry');
    ok($look->('invalid'), 'a set that became invalid is seen');
    ok($look->('invalid'), 'and again: its tag is not taken for the one of the keys at hand');
    ok(wait_for('keys', 15, sub { good($t{ed}, 6) }), 'another source is fine');
    $server->stop;
    my $stopped = time;
    ok($look->('unreachable'), 'a server that is down is unreachable');
    ok(good($t{ed}), 'and the keys at hand are kept');
    wait_for('refresh to pass', 10, sub { time - $stopped > 2 });
    ok($nginx->reload && good($t{ed}, 6), 'also over a reload, when they are older than refresh');
    $server->put($_, 'set', jwks($k{ed}, $newer)) for qw(main short);
    $server->start;
    ok(wait_for('the newest key', 20, sub { good(token($newer)) || do { ask(token({ %$new, kid => new_key() })); 0 } }), 'when it is back its keys are found');
    ok($look->('unchanged'), 'and asked for conditionally');
    cmp_ok($server->count('main 304') + $server->count('short 304'), '>', 0, 'which it answers with 304');
};

subtest 'max_stale' => sub {
    ok(wait_for('keys', 15, sub { good($t{ed}, 2) }), 'keys are there');
    $server->put(short => 'half');
    my $r;
    ok(wait_for('them to be too old', 30, sub { ($r = ask($t{ed}, 2))->status == 503 }), 'keys that cannot be read again for too long are not used');
    like($r->header('Retry-After'), qr/^\d+$/, 'a client may come again');
    is($r->json->{type}, 'urn:aegis:problem:unavailable', 'and is told that it is our side');
    cmp_ok(fetched('timeout'), '>', 0, 'a server that stops in the middle is a timeout');
    is($nginx->http(1, token => undef)->get('/metrics')->status, 200, 'metrics are there');
    cmp_ok($nginx->http(1, token => undef)->get('/metrics')->body =~ /^aegis_jwks_age_seconds (\d+)$/m ? $1 : -1, '>=', 3, 'and show the age');
    $server->put(short => 'set');
    ok(wait_for('them to be good', 30, sub { good($t{ed}, 2) }), 'they come back by themselves');
    is(ask($t{ed}, 4)->status, 503, 'where keys never came, JWTs are refused');
    is(ask($stack->token, 4)->status, 404, 'and API keys are not');
};

subtest 'a file' => sub {
    my $t = sub ($key) { return token($key, org => 'default', scp => 'case:read') };
    ok(good($t->($k{es}), 3), 'its keys are there at once');
    spew_into($nginx->dir . '/keys.json', jwks($new, $newer));
    ok(wait_for('the new file', 15, sub { good($t->($new), 3) }), 'a new file is seen');
    is(ask($t->($k{es}), 3)->status, 401, 'and the old one forgotten');
    my $n = fetched('invalid');
    spew_into($nginx->dir . '/keys.json', 'half a fi');
    ok(wait_for('it to be read', 15, sub { fetched('invalid') > $n }), 'a broken file is seen');
    ok(good($t->($new), 3), 'and the keys at hand are kept');
};

$nginx->finish;
$stack->finish;
done_testing;
