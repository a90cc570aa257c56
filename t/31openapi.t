# 31openapi.t: docs/openapi.json by tools that others wrote: linted by redocly and
# spectral, and every route's every documented status driven through prism, a
# proxy that holds each answer against the description. docs/asyncapi.yaml by
# spectral and its own parser.
# The tools are npm packages, pinned in t/openapi/package-lock.json and installed
# into build/npm by this suite. Nobody who uses Aegis needs npm; without it the
# suite says so and is skipped.
use v5.36;
use lib 't/lib';
use Test::More;
use File::Copy ();
use Aegis::Case;
use Aegis::Http;
use Aegis::Stack;
use Aegis::Test;

my $dir = root . '/build/npm';
my $bin = "$dir/node_modules/.bin";
my %quiet = (REDOCLY_TELEMETRY => 'off', REDOCLY_SUPPRESS_UPDATE_NOTICE => 'true', NO_UPDATE_NOTIFIER => 1, CI => 'true');

plan skip_all => 'npm is not installed: nothing was linted and no answer validated (make test-deps installs it)' unless have('npm');

# --- the tools
{
    mkdir $_ for root . '/build', $dir;
    my $lock = slurp(root . '/t/openapi/package-lock.json');
    my $done = "$dir/installed";
    if (!-e $done || slurp($done) ne $lock) {
        File::Copy::copy(root . "/t/openapi/$_", "$dir/$_") or die "$_: $!" for qw(package.json package-lock.json);
        my $r = run(['npm', 'ci', '--prefix', $dir, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel', 'error'], timeout => 400, env => \%quiet);
        is($r->{rc}, '0', 'npm installs the pinned tools') or BAIL_OUT("npm ci: $r->{out}$r->{err}");
        spew($done, $lock);
    }
    unlike($lock, qr{"resolved"|https?://}, 'the lock file names no registry');
}

my $openapi = root . '/docs/openapi.json';
my $doc = json_decode(slurp($openapi));

sub tool (@argv) { return run([@argv], timeout => 120, env => \%quiet) }

subtest 'the documents' => sub {
    my $r = tool("$bin/redocly", 'lint', '--config', root . '/t/openapi/redocly.yaml', '--format', 'json', $openapi);
    is($r->{rc}, '0', 'redocly accepts openapi.json');
    my $out = json_decode($r->{out});
    is_deeply([ map { "$_->{ruleId}: $_->{message}" } @{ $out->{problems} } ], [], 'and warns of nothing');
    my $s = tool("$bin/spectral", 'lint', $openapi, root . '/docs/asyncapi.yaml', '--ruleset', root . '/t/openapi/spectral.yaml',
        '--fail-severity', 'hint', '--format', 'json', '--quiet');
    is($s->{rc}, '0', 'spectral accepts openapi.json and asyncapi.yaml');
    is_deeply([ map { "$_->{code}: " . join('/', @{ $_->{path} }) } @{ json_decode($s->{out}) } ], [], 'and hints at nothing');
    my $a = run(['node', root . '/t/openapi/asyncapi.js', root . '/docs/asyncapi.yaml'], timeout => 60, cwd => $dir);
    is($a->{rc} . $a->{out}, '0', 'the AsyncAPI parser accepts asyncapi.yaml');
};

subtest 'they find a fault' => sub {
    my $bad = scratch() . '/bad.json';
    my $broken = json_decode(slurp($openapi));
    delete $broken->{paths}{'/case/{id}'}{get}{responses}{404}{'$ref'};
    $broken->{paths}{'/case/{id}'}{get}{operationId} = 'createCase';
    spew($bad, json_encode($broken));
    isnt(tool("$bin/redocly", 'lint', '--config', root . '/t/openapi/redocly.yaml', $bad)->{rc}, '0', 'redocly sees an answer without content, an id twice');
    isnt(tool("$bin/spectral", 'lint', $bad, '--ruleset', root . '/t/openapi/spectral.yaml', '--fail-severity', 'hint')->{rc}, '0', 'so does spectral');
};

# --- answers, through prism
my $stack = Aegis::Stack->shared;

# A prism in front of the gateway, with a document; a client of it.
sub prism ($document) {
    # prism would answer 401 by itself
    my $open = json_decode(json_encode($document));
    delete $open->{security};
    delete $_->{security} for map { grep { ref eq 'HASH' } values %$_ } values %{ $open->{paths} };
    my $file = scratch() . '/prism.json';
    spew($file, json_encode($open));
    my $port = free_port();
    my $p = start_process('prism', ["$bin/prism", 'proxy', $file, $stack->e('AEGIS_URL'), '-p', $port, '-h', '127.0.0.1', '--errors',
        '--validate-request', 'false', '--verboseLevel', 'error'], env => { %quiet, NODE_EXTRA_CA_CERTS => $stack->e('AEGIS_CA') });
    my $http = Aegis::Http->new(url => "http://127.0.0.1:$port", token => $stack->token);
    wait_for('prism to answer', 60, sub { eval { $http->get('/healthz')->status == 200 } }) or die "prism does not start\n";
    return ($p, $http);
}

my ($prism, $http) = prism($doc);
my $reader = $http->with(token => $stack->token('reader'));
my $nobody = $http->with(token => undef);
my $mute = $http->with(token => $stack->token('mute'));
my $second = $http->with(token => $stack->token('second'));
my %seen;           # "get /case/{id}" => { status => 1 }

# One request; what prism says of its answer.
sub ask ($client, $op, $path, $status, $what, %req) {
    my ($method, $template) = split / /, $op;
    my $r = $client->request(uc $method, $path, %req);
    my $says = $r->header('sl-violations') // '';
    my $mine = $r->problem ne '' || $r->status < 400;
    $seen{$op}{ $r->status } = 1 if $mine;
    ok($r->status == $status && $says eq '' && ($mine || $path eq '/metrics'), "$op: $status, $what")
        or diag($r->brief . "\n$says");
    return $r;
}

sub key () { return ('Idempotency-Key', new_key()) }

my $case = Aegis::Case->create($http, mode => 'manual', title => 'through prism');
my $id = $case->id;

subtest 'the loop, by hand' => sub {
    my $create = 'post /case/create';
    my $key = new_key();
    my @create = (json => { title => 'seen by prism', mode => 'manual', tags => ['prism'], labels => { a => 'b' }, reason => 'why' });
    ask($http, $create, '/case/create', 201, 'a case', @create, headers => ['Idempotency-Key', $key]);
    ask($http, $create, '/case/create', 201, 'a replay', @create, headers => ['Idempotency-Key', $key]);
    ask($http, $create, '/case/create', 422, 'a key used again', json => { title => 'other' }, headers => ['Idempotency-Key', $key]);
    my $get = 'get /case/{id}';
    my $say = 'patch /case/{id}/transition';
    my $url = "/case/$id/transition";
    ask($http, $get, "/case/$id", 200, 'a new case');
    ask($http, $say, $url, 412, 'a wrong version', json => { event => 'start_analysis' }, headers => [key, 'If-Match', '"9"']);
    ask($http, $say, $url, 409, 'a wrong expected_version', json => { event => 'start_analysis', expected_version => 9 }, headers => [key]);
    ask($http, $say, $url, 409, 'an illegal event', json => { event => 'exec_done' }, headers => [key]);
    ask($http, $say, $url, 200, 'an event', json => { event => 'start_analysis', meta => { a => 1 } }, headers => [key, 'If-Match', '"1"']);
    ask($http, $say, $url, 422, 'a guard', json => { event => 'plan_ready' }, headers => [key]);
    my $plan = ask($http, 'post /plan/generate', '/plan/generate', 201, 'a plan', json => { case_id => $id, plan => Aegis::Case::echo_plan() },
        headers => [key])->json;
    ask($http, 'post /plan/generate', '/plan/generate', 201, 'a plan of a template', json => { case_id => $id, template => 'incident',
        params => { service => 'x' } }, headers => [key]);
    ask($http, 'post /plan/generate', '/plan/generate', 422, 'no such template', json => { case_id => $id, template => 'none' }, headers => [key]);
    ask($http, 'get /plan/{id}', "/plan/$plan->{plan_id}", 200, 'the plan');
    ask($http, 'get /plan/{id}', "/plan/$plan->{plan_id}", 304, 'known', headers => ['If-None-Match', '*']);
    ask($http, 'get /plan/{id}', "/plan/$plan->{plan_id}", 412, 'another', headers => ['If-Match', '"x"']);
    my $revised = $http->get("/case/$id/plan")->json->{items}[1]{plan_id};
    ask($http, 'get /plan/{id}/diff', "/plan/$plan->{plan_id}/diff", 200, 'the first has none before it');
    ask($http, 'get /plan/{id}/diff', "/plan/$revised/diff", 200, 'what changed');
    ask($http, 'get /plan/{id}/diff', "/plan/$revised/diff?from=$plan->{plan_id}", 200, 'from one that is named');
    ask($http, 'get /plan/{id}/diff', "/plan/$revised/diff?from=7", 400, 'no id');
    ask($http, 'get /plan/{id}/diff', "/plan/$revised/diff", 304, 'known', headers => ['If-None-Match', '*']);
    ask($http, 'get /plan/{id}/diff', "/plan/$revised/diff", 412, 'another', headers => ['If-Match', '"x"']);
    ask($http, 'get /case/{id}/plan', "/case/$id/plan?limit=1", 200, 'a page');
    ask($http, 'get /case/{id}/plan', "/case/$id/plan?cursor=nonsense", 400, 'a bad cursor');
    ask($http, 'post /gate/eval', '/gate/eval', 409, 'too early', json => { case_id => $id }, headers => [key]);
    ask($http, 'post /adapter/exec', '/adapter/exec', 409, 'too early', json => { case_id => $id }, headers => [key]);
    ask($http, 'post /verify/run', '/verify/run', 409, 'too early', json => { case_id => $id }, headers => [key]);
    $case->must('plan_ready');
    ask($http, 'post /gate/eval', '/gate/eval', 201, 'a decision', json => { case_id => $id }, headers => [key]);
    $case->wait_state('EXECUTING');
    my $run = ask($http, 'post /adapter/exec', '/adapter/exec', 202, 'a run', json => { case_id => $id }, headers => [key])->json;
    for my $path ('/adapter/exec', '/exec') {
        ask($http, "get $path/{id}", "$path/$run->{exec_id}", 200, 'the run');
        ask($http, "get $path/{id}", "$path/$run->{exec_id}", 304, 'known', headers => ['If-None-Match', '*']);
        ask($http, "get $path/{id}", "$path/$run->{exec_id}", 412, 'another', headers => ['If-Match', '"x"']);
    }
    $case->wait_state('VERIFYING');
    ask($http, 'get /exec/{id}', "/exec/$run->{exec_id}", 200, 'the run when it is done');
    ask($http, 'get /ingest/check', '/ingest/check', 200, 'who sends');
    ask($http, 'post /analyze/run', '/analyze/run', 202, 'a round', json => {}, headers => [key]);
    my $f = uuid;
    $stack->pg->do(q{INSERT INTO aegis.finding (tenant, finding_id, fingerprint, source, kind, severity, title, at, decision, rule, reason)
        VALUES ('default', ?, 'openapi', 'metric', 'ewma', 'info', 'a finding', now(), 'held', 'only-info', 'for a test')}, $f);
    ask($http, 'get /finding', '/finding?limit=1', 200, 'a page');
    ask($http, 'get /finding', '/finding?limit=1', 304, 'known', headers => ['If-None-Match', '*']);
    ask($http, 'get /finding', '/finding?limit=1', 412, 'another', headers => ['If-Match', '"x"']);
    ask($http, 'get /finding/{id}', "/finding/$f", 200, 'why');
    ask($http, 'get /finding/{id}', "/finding/$f", 304, 'known', headers => ['If-None-Match', '*']);
    ask($http, 'get /finding/{id}', "/finding/$f", 412, 'another', headers => ['If-Match', '"x"']);
    ask($http, 'post /ingest/hint', '/ingest/hint', 201, 'a locator', json => Aegis::Case::hint(case_id => $run->{case_id}), headers => [key]);
    ask($http, 'post /exec/{id}/cancel', "/exec/$run->{exec_id}/cancel", 409, 'too late', json => { reason => 'late' }, headers => [key]);
    $stack->add_script('t-openapi.sh', "#!/bin/sh\n# waits\nexec sleep 60\n");
    my $long = Aegis::Case->create($stack->http, mode => 'manual', title => 'is cancelled')->drive('EXECUTING',
        plan => Aegis::Case::echo_plan(steps => [{ action => 'script.exec', params => { script => 't-openapi.sh', args => [] } }]));
    my $started = ask($http, 'post /adapter/exec', '/adapter/exec', 202, 'a run that takes time', json => { case_id => $long->id }, headers => [key])->json;
    ask($http, 'post /exec/{id}/cancel', "/exec/$started->{exec_id}/cancel", 202, 'its end', json => { reason => 'seen enough' }, headers => [key]);
    $long->wait_state('PARKED');
    ask($http, 'post /verify/run', '/verify/run', 201, 'a checkpoint', json => { case_id => $id }, headers => [key]);
    $case->wait_state('CLOSED');
    ask($http, $get, "/case/$id", 200, 'a closed case');
    ask($http, 'post /plan/generate', '/plan/generate', 409, 'too late', json => { case_id => $id, plan => Aegis::Case::echo_plan() }, headers => [key]);
    ask($http, 'get /case/{id}/verify', "/case/$id/verify?limit=1", 200, 'its one evaluation');
    ask($http, 'get /case/{id}/verify', "/case/$id/verify?cursor=nonsense", 400, 'a bad cursor');
    my $slow = Aegis::Case->create($stack->http, mode => 'manual', title => 'takes time')->drive('VERIFYING', plan => { verify => [
        { kind => 'metric', resource => 'urn:none', metric => 'm', op => '<', threshold => 1, window_s => 300 }] });
    my $verify = ask($http, 'post /verify/run', '/verify/run', 202, 'a verification that takes time', json => { case_id => $slow->id },
        headers => [key])->json->{verify_id};
    ask($http, 'post /verify/run', '/verify/run', 409, 'a second one', json => { case_id => $slow->id }, headers => [key]);
    ask($http, 'get /verify/{id}', "/verify/$verify", 200, 'how far it is');
    $slow->must('force_park');
    ask($http, 'get /verify/{id}', "/verify/$verify", 304, 'known', headers => ['If-None-Match', '*']);
    ask($http, 'get /verify/{id}', "/verify/$verify", 412, 'another', headers => ['If-Match', '"x"']);
    my $undo = $stack->policy("version: 1\nrules:\n  - {id: ask-$$, kind: approval, approval: {need: 2, four_eyes: false}}\n");
    my %asked = map { my $c = Aegis::Case->create($stack->http, mode => 'manual')->drive('WAIT_GATE');
        $_ => { case_id => $c->id, plan_hash => ask($http, 'post /gate/eval', '/gate/eval', 201, 'a question', json => { case_id => $c->id }, headers => [key])->json->{plan_hash} } } qw(approve deny);
    ask($http, 'post /gate/eval', '/gate/eval', 200, 'the same question', json => { case_id => $asked{deny}{case_id} }, headers => [key]);
    ask($http, 'get /gate/waiting', '/gate/waiting', 200, 'what waits');
    ask($http, 'get /gate/{id}', "/gate/$asked{deny}{case_id}", 200, 'what waits of a case');
    ask($http, 'get /gate/{id}', "/gate/$asked{deny}{case_id}", 304, 'known', headers => ['If-None-Match', '*']);
    ask($http, 'get /gate/{id}', "/gate/$asked{deny}{case_id}", 412, 'another', headers => ['If-Match', '"x"']);
    ask($http, "post /gate/$_", "/gate/$_", 409, 'another plan', json => { %{ $asked{$_} }, plan_hash => 'h' }, headers => [key]) for qw(approve deny);
    ask($http, 'post /gate/approve', '/gate/approve', 200, 'a first voice', json => $asked{approve}, headers => [key]);
    ask($second, 'post /gate/approve', '/gate/approve', 201, 'the last one', json => $asked{approve}, headers => [key]);
    ask($http, 'post /gate/deny', '/gate/deny', 201, 'a denial', json => $asked{deny}, headers => [key]);
    $undo->();
    for my $page ("/case/$id/timeline", '/case') {
        my $op = 'get ' . ($page =~ s/\Q$id\E/{id}/r);
        ask($http, $op, $page, 200, 'a page');
        my $next = ask($http, $op, "$page?limit=1", 200, 'a page with a next')->json->{next};
        ask($http, $op, "$page?limit=1&cursor=$next", 200, 'the next');
        ask($http, $op, "$page?cursor=nonsense", 400, 'a bad cursor');
    }
    ask($http, 'get /case', '/case?tag=nobody-has-it', 200, 'an empty page');
    my %doc = (source => "prism $$", body => "# Prism\n\nlooks at all that is said\n");
    my $known = ask($http, 'post /kb/ingest', '/kb/ingest', 202, 'a document', json => \%doc, headers => [key])->json->{doc_id};
    ask($http, 'post /kb/ingest', '/kb/ingest', 200, 'the same', json => \%doc, headers => [key]);
    wait_for('it to be read', 20, sub { $http->get("/kb/doc/$known")->json->{state} eq 'READY' });
    for my $read (['/kb/search', 'q=prism&topk=2'], ['/kb/doc', 'limit=1'], ['/kb/doc/{id}', '']) {
        my $url = ($read->[0] =~ s/\{id\}/$known/r) . ($read->[1] ? "?$read->[1]" : '');
        ask($http, "get $read->[0]", $url, 200, 'what is known');
        ask($http, "get $read->[0]", $url, 304, 'known', headers => ['If-None-Match', '*']);
        ask($http, "get $read->[0]", $url, 412, 'another', headers => ['If-Match', '"x"']);
    }
};

my %url = ('/case/{id}/plan' => "/case/$id/plan", '/case/{id}/verify' => "/case/$id/verify", '/case/{id}' => "/case/$id", '/case/{id}/timeline' => "/case/$id/timeline", '/case/{id}/transition' => "/case/$id/transition");

subtest 'what every route refuses' => sub {
    for my $template (sort keys %{ $doc->{paths} }) {
        for my $method (grep { /^(get|post|patch)$/ } sort keys %{ $doc->{paths}{$template} }) {
            my $op = "$method $template";
            my $has = $doc->{paths}{$template}{$method}{responses};
            my $write = $method ne 'get';
            my $url = $url{$template} // ($template =~ s/\{id\}/uuid/er);
            my %valid = $write ? (json => $template eq '/case/create' ? { title => 'x', mode => 'manual' }
                : $template =~ /transition/ ? { event => 'force_park' } : $template =~ m{^/gate/(?:approve|deny)$} ? { case_id => uuid, plan_hash => 'h' }
                : $template =~ /(?:cancel|analyze.run)$/ ? { reason => 'x' } : $template =~ /hint$/ ? Aegis::Case::hint(case_id => uuid) : { case_id => uuid }) : ();
            my @k = $write ? key : ();
            if ($has->{401}) {
                ask($nobody, $op, $url, 401, 'no credential', %valid, headers => [@k]);
                ask($write ? $reader : $mute, $op, $url, 403, 'no scope', %valid, headers => [@k]);
                ask($http, $op, $url, 406, 'nothing acceptable', %valid, headers => [@k, 'Accept', 'text/html']);
            }
            ask($http, $op, $url =~ s/\Q$id\E|[0-9a-f-]{36}/uuid/er, 404, 'nobody has it', %valid, headers => [key]) if $has->{404} && $url =~ /[0-9a-f]{8}-/;
            ask($http, $op, $url, 404, 'no such case', %valid, headers => [key]) if $has->{404} && $write && $url !~ /[0-9a-f]{8}-/;
            ask($http, $op, "$url?" . 'x' x 9000, 414, 'a long target', %valid, headers => [@k]);
            ask($http, $op, $url, 431, 'a long header', %valid, headers => [@k, 'X-Y', 'x' x 9000]);
            if ($write) {
                ask($http, $op, $url, 400, 'no key', %valid);
                ask($http, $op, $url, 400, 'no object', body => '[]', headers => [key]);
                ask($http, $op, $url, 413, 'a large body', json => { title => 'x' x 300_000 }, headers => [key]);
                ask($http, $op, $url, 415, 'a form', body => 'a=b', headers => [key, 'Content-Type', 'application/x-www-form-urlencoded']);
                ask($http, $op, $url, 422, 'an unknown member', json => { %{ $valid{json} }, colour => 'red' }, headers => [key]);
            }
            elsif ($has->{401}) {
                ask($http, $op, "$url?colour=red", 400, 'an unknown parameter');
                my $found = $url =~ /\Q$id\E/ || $template =~ m{^/(?:case|gate/waiting)$};
                ask($http, $op, $url, 304, 'known', headers => ['If-None-Match', '*']) if $found;
                ask($http, $op, $url, 412, 'another', headers => ['If-Match', '"x"']) if $found;
            }
            else {
                ask($http, $op, $url, 412, 'another', headers => ['If-Match', '"x"']) if $has->{412};
                ask($http, $op, $url, 200, 'for anybody');
                ask($http, $op, $url, 304, 'known', headers => ['If-None-Match', '*']) if $has->{304};
            }
        }
    }
};

# What nginx or a fault answers, on every route that documents it: limit_req is
# the fault, and says any status.
sub refuse_all ($status, $except = qr/^$/) {
    my $undo = $stack->nginx_edit(sub ($conf) {
        $conf =~ s/(http \{\n)/$1    limit_req_zone \$server_name zone=all:64k rate=1r\/m;\n    limit_req_status $status;\n/ or die 'no http';
        $conf =~ s/(server_name localhost;\n)/$1        limit_req zone=all;\n/ or die 'no server';
        return $conf;
    });
    $stack->http->get('/healthz');      # the one that is let through
    $http->get('/healthz');             # and one for a connection of prism that the reload closed
    for my $template (sort keys %{ $doc->{paths} }) {
        for my $method (grep { /^(get|post|patch)$/ } sort keys %{ $doc->{paths}{$template} }) {
            next unless $doc->{paths}{$template}{$method}{responses}{$status};
            ask($http, "$method $template", $url{$template} // ($template =~ s/\{id\}/uuid/er), $status, 'whatever it was',
                $method eq 'get' ? () : (json => {}, headers => [key]));
        }
    }
    $undo->();
}
subtest "$_ everywhere" => sub { refuse_all($_) } for 429, 500, 503, 504;

subtest 'policies' => sub {
    my $undo = $stack->nginx_edit(sub ($conf) {
        $conf =~ s/(server_name localhost;\n)/$1        aegis_require_if_match on;\n/ or die 'no server';
        $conf =~ s/^\s*aegis_openapi .*$//m or die 'no description';
        return $conf;
    });
    $http->get('/healthz');
    ask($http, 'patch /case/{id}/transition', "/case/$id/transition", 428, 'no condition', json => { event => 'resume' }, headers => [key]);
    ask($http, 'get /openapi.json', '/openapi.json', 404, 'a server without a description');
    $undo->();
};

subtest 'every documented status was seen' => sub {
    # prism itself refuses methods that are not in the document (405, 501), and sends
    # no body with GET (413); a body that stops (408), two at once (409) are elsewhere
    my %elsewhere = (405 => 't/20routes.t', 501 => 't/28semantics.t', 408 => 't/28semantics.t', 505 => 't/28semantics.t');
    my @missing;
    my $n = 0;
    for my $template (sort keys %{ $doc->{paths} }) {
        for my $method (grep { /^(get|post|patch)$/ } sort keys %{ $doc->{paths}{$template} }) {
            for my $status (sort keys %{ $doc->{paths}{$template}{$method}{responses} }) {
                next if $elsewhere{$status} || ($status == 413 && $method eq 'get') || ($status == 400 && $template =~ /^\/(healthz|livez|readyz|metrics|openapi)/)
                    || ($status == 409 && $template =~ m{^/(?:case/create|ingest/hint|analyze/run|kb/ingest)$});
                $seen{"$method $template"}{$status} ? $n++ : push @missing, "$method $template: $status";
            }
        }
    }
    is_deeply(\@missing, [], "$n pairs of route and status") or diag("@missing");
};
stop_process($prism);

subtest 'prism notices a break' => sub {
    my $broken = json_decode(slurp($openapi));
    $broken->{components}{schemas}{Case}{properties}{version} = { type => 'string' };
    delete $broken->{paths}{'/case/{id}'}{get}{responses}{404};
    push @{ $broken->{components}{schemas}{Problem}{required} }, 'colour';
    my ($p, $h) = prism($broken);
    for my $c (["/case/$id", 'a member of another type'], ['/case/' . uuid, 'a status that is not documented'], ['/case?limit=0', 'a problem without a member']) {
        my $r = $h->get($c->[0]);
        like($r->header('sl-violations') // $r->body, qr/VIOLATIONS|"severity"|Unable to match/i, $c->[1]) or diag($r->brief);
        isnt($r->problem =~ /./ ? 1 : 0, 1, '  and the answer is prism\'s') if $r->status == 500;
    }
    stop_process($p);
};

$stack->finish(no_openapi => 1, allow => [qr/client sent|client prematurely closed/]);
done_testing;
