# 20routes.t: each route answers as docs/api.md says: what it returns, which
# headers it sends, what HEAD and OPTIONS do, conditional reads, pages and
# filters, and that another tenant's resources do not exist.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes ();
use Aegis::Case;
use Aegis::Def;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $other = $stack->http('other');
my $reader = $stack->http('reader');
my $uuid = qr/^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
my $time = qr/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|\+00:00)$/;
my $tag = new_key('tag');

# What every answer has, whoever asks for whatever.
sub common ($r, $what) {
    my @ids = $r->all('X-Request-Id');
    is(scalar @ids, 1, "$what: one X-Request-Id") and like($ids[0], qr/^[\x21-\x7e]{8,}$/, "$what: it is one");
    if ($r->status >= 400) {
        is($r->header('content-type'), 'application/problem+json', "$what: a problem document");
        is($r->json->{instance}, "urn:aegis:request:$ids[0]", "$what: it names the request");
        is($r->json->{status}, $r->status, "$what: it repeats the status");
        ok(length($r->json->{title} // '') && length($r->json->{detail} // ''), "$what: it says what and what to do");
    }
}

sub ids ($r) { map { $_->{case_id} } @{ $r->json->{items} } }

# The page before this one, by its Link; undef on the first.
sub before ($r) {
    my ($url) = ($r->header('link') // '') =~ /<([^>]*)>;\s*rel="prev"/ or return;
    return $http->get($url);
}

# --- create
my $case;
subtest 'POST /case/create' => sub {
    $case = Aegis::Case->create($http, title => 'checkout is slow', kind => 'incident', severity => 'critical',
        mode => 'manual', tags => ['db', $tag], labels => { service => 'checkout', env => 'staging' },
        actor => 'quickstart', reason => 'paged', correlation_id => 'corr-1',
        headers => [traceparent => '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01']);
    my $r = $case->{created};
    common($r, 'create');
    is($r->header('etag'), '"1"', 'its ETag is version 1');
    is($r->header('location'), '/case/' . $case->id, 'Location is the case');
    like($r->header('content-type'), qr{^application/json\b}, 'it is JSON');
    my $j = $r->json;
    like($j->{case_id}, $uuid, 'the id is a uuid');
    is_deeply({ map { $_ => $j->{$_} } qw(status version title kind severity mode tags labels reason correlation_id tenant) },
        { status => 'NEW', version => 1, title => 'checkout is slow', kind => 'incident', severity => 'critical',
          mode => 'manual', tags => ['db', $tag], labels => { service => 'checkout', env => 'staging' }, reason => 'paged',
          correlation_id => 'corr-1', tenant => 'default' }, 'the case is as it was asked for');
    like($j->{$_}, $time, "$_ is RFC 3339 in UTC") for qw(created_at updated_at);
    my $d = Aegis::Case->create($http, mode => 'manual', title => "caf\x{e9} \x{4e2d} \x{1f600}")->get->json;
    is($d->{title}, "caf\x{e9} \x{4e2d} \x{1f600}", 'a title is any text');
    is_deeply({ map { $_ => $d->{$_} } qw(kind severity tags labels reason correlation_id plan_id exec_id) },
        { kind => 'incident', severity => 'warning', tags => [], labels => {}, reason => '', correlation_id => '',
          plan_id => undef, exec_id => undef }, 'what is not said gets its default');
};
my $id = $case->id;

subtest 'GET /case/{id}' => sub {
    my $r = $case->get;
    is($r->status, 200, 'it is found');
    common($r, 'get');
    is($r->header('etag'), '"1"', 'with its ETag');
    like($r->header('cache-control'), qr/\bno-cache\b/, 'to be revalidated');
    like($r->header('cache-control'), qr/\bprivate\b/, 'and not shared');
    is($r->body, $case->{created}->body, 'as create answered it');
    is($http->get('/case/' . uc $id)->json->{case_id}, $id, 'an id in upper case is the same id');
    my $h = $http->request('HEAD', "/case/$id");
    is($h->status, 200, 'HEAD answers');
    is($h->body, '', 'without a body');
    is($h->header($_), $r->header($_), "and the same $_") for qw(content-length content-type etag cache-control);
    for my $q (['"1"', 304], ['W/"1"', 304], ['"0", "1"', 304], ['*', 304], ['"2"', 200], ['W/"7", "8"', 200]) {
        my $c = $http->get("/case/$id", headers => ['If-None-Match', $q->[0]]);
        is($c->status, $q->[1], "If-None-Match: $q->[0] is answered $q->[1]");
        next unless $q->[1] == 304;
        is($c->body, '', 'without a body');
        is($c->header('etag'), '"1"', 'with the ETag');
        ok($c->header('x-request-id'), 'and a request id');
        like($c->header('cache-control'), qr/no-cache/, 'and Cache-Control');
    }
    common($http->get('/case/' . uuid), 'unknown id');
};

# Its text is made by the gateway (core/aegis_case.c); of a change it is made by SQL.
subtest 'a case that is read has the bytes that SQL gives it' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual', title => "caf\x{e9} \"1\"", labels => { a => "\x{1f600}" });
    my ($pg, $cid) = ($stack->pg, $c->id);
    my $was = $pg->row('SELECT reason, updated_at FROM aegis.ops_case WHERE case_id = ?', $cid);
    $pg->do(q{SET TimeZone = 'UTC'});
    for my $row (['', undef, undef, '2026-11-26 23:01:57+00'], ['plain', uuid, undef, '2026-01-01 00:00:00.1+00'],
        ["\"\\/\b\f\n\r\t\x01\x1f\x7f caf\x{e9} \x{4e2d} \x{1f600}", undef, uuid, '1999-12-31 23:59:59.999999+00'],
        ['x' x 2000, uuid, uuid, '2100-02-28 12:00:00.00001+01'])
    {
        utf8::encode($row->[0]);
        $pg->do('UPDATE aegis.ops_case SET reason = ?, plan_id = ?, exec_id = ?, updated_at = ? WHERE case_id = ?', @$row, $cid);
        my $text = $pg->one('SELECT aegis.case_text(c) FROM aegis.ops_case c WHERE case_id = ?', $cid);
        utf8::encode($text) if utf8::is_utf8($text);
        is($c->get->body, $text, sprintf 'a reason of %d bytes, updated %s', length $row->[0], $row->[3]);
    }
    $pg->do('UPDATE aegis.ops_case SET reason = ?, plan_id = NULL, exec_id = NULL, updated_at = ? WHERE case_id = ?', @$was{qw(reason updated_at)}, $cid);
};

subtest 'PATCH /case/{id}/transition' => sub {
    my $r = $case->must('start_analysis', actor => 'quickstart', reason => 'look', correlation_id => 'corr-2', meta => { n => 1 },
        expected_version => 1, headers => [traceparent => '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01']);
    common($r, 'transition');
    is($r->header('etag'), '"2"', 'its ETag is the new version');
    is($r->json->{status}, 'ANALYZING', 'the case has the new state');
    is($r->json->{version}, 2, 'and the new version');
    is($r->json->{reason}, 'look', 'and says why');
    is($case->get->body, $r->body, 'GET shows the same');
};

subtest 'GET /case/{id}/timeline' => sub {
    my $r = $http->get("/case/$id/timeline");
    is($r->status, 200, 'it is found');
    common($r, 'timeline');
    my @t = @{ $r->json->{items} };
    is(scalar @t, 2, 'it has two rows');
    is($r->json->{next}, undef, 'on one page');
    is_deeply({ map { $_ => $t[0]{$_} } qw(version kind event from_status to_status actor principal reason correlation_id trace_id rule) },
        { version => 1, kind => 'create', event => 'create', from_status => undef, to_status => 'NEW', actor => 'quickstart',
          principal => 'quickstart', reason => 'paged', correlation_id => 'corr-1',
          trace_id => '0af7651916cd43dd8448eb211c80319c', rule => undef }, 'the first says who created it, why and in which trace');
    is_deeply({ map { $_ => $t[1]{$_} } qw(version kind event from_status to_status actor principal reason correlation_id trace_id rule meta) },
        { version => 2, kind => 'transition', event => 'start_analysis', from_status => 'NEW', to_status => 'ANALYZING',
          actor => 'quickstart', principal => 'quickstart', reason => 'look', correlation_id => 'corr-2',
          trace_id => '4bf92f3577b34da6a3ce929d0e0e4736', rule => 110, meta => { n => 1 } },
        'the second who moved it, by which rule');
    like($_->{created_at}, $time, 'each says when') for @t;
    my $next = Aegis::Case->create($http, mode => 'manual', correlation_id => 'kept');
    $next->must('force_park');
    is(($next->timeline)[1]{correlation_id}, 'kept', 'a transition that names none has the case\'s correlation id');
    is(($next->timeline)[1]{actor}, 'quickstart', 'an actor that is not named is the principal');
    like(($next->timeline)[1]{trace_id}, qr/^(?!0{32})[0-9a-f]{32}$/, 'a request without traceparent begins a trace');
    my $bad = Aegis::Case->create($http, mode => 'manual', headers => [traceparent => "00-${\('0' x 32)}-b7ad6b7169203331-01"]);
    like(($bad->timeline)[0]{trace_id}, qr/^(?!0{32})[0-9a-f]{32}$/, 'so does one whose traceparent is not valid');
    common($http->get('/case/' . uuid . '/timeline'), 'unknown id');
};

subtest 'pages of a timeline' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual');
    for (1 .. 4) { $c->must('force_park'); $c->must('resume') }
    my ($url, @seen) = ("/case/" . $c->id . "/timeline?limit=2");
    my $n = 0;
    while (1) {
        my $r = $http->get($url);
        is($r->status, 200, 'page ' . ++$n);
        push @seen, map { $_->{version} } @{ $r->json->{items} };
        my $next = $r->json->{next} // last;
        like($r->header('link') // '', qr/<[^>]*cursor=\Q$next\E[^>]*>;\s*rel="?next/, 'Link names the next one');
        $url = "/case/" . $c->id . "/timeline?limit=2&cursor=$next";
        last if $n > 9;
    }
    is_deeply(\@seen, [1 .. 9], 'every version once, oldest first');
    is($n, 5, 'two on a page');
    my ($back, @pages) = $http->get($url);
    unshift @pages, [ map { $_->{version} } @{ $back->json->{items} } ] while $back = before($back);
    is_deeply(\@pages, [[1, 2], [3, 4], [5, 6], [7, 8]], 'from the last page back to the first by Link, the same pages');
};

subtest 'GET /case' => sub {
    my @made = map { Aegis::Case->create($http, mode => 'manual', tags => [$tag, "n$_"], title => "case $_") } 1 .. 7;
    $made[$_]->must('start_analysis') for 0 .. 2;
    my $r = $http->get("/case?tag=$tag");
    is($r->status, 200, 'it answers');
    common($r, 'list');
    my @ids = map { $_->{case_id} } @{ $r->json->{items} };
    is_deeply(\@ids, [ (map { $_->id } reverse @made), $id ], 'the cases of a tag, newest first');
    is_deeply([ sort keys %{ $r->json->{items}[0] } ], [ sort keys %{ $case->get->json } ], 'each as GET shows it');
    my (@paged, $cursor);
    for my $page (1 .. 9) {
        my $p = $http->get("/case?tag=$tag&limit=3" . ($cursor ? "&cursor=$cursor" : ''));
        push @paged, map { $_->{case_id} } @{ $p->json->{items} };
        Aegis::Case->create($http, mode => 'manual', tags => [$tag]) if $page == 1;       # while we read
        $cursor = $p->json->{next} // last;
    }
    is_deeply(\@paged, \@ids, 'pages skip and double nothing while cases are created');
    # each way that a list is read: by a tag, by tag and state, by state, by time alone
    my $fifth = $made[5]->get->json->{created_at} =~ s/\+00:00$/Z/r;
    for my $filter ("tag=$tag", "tag=$tag&status=NEW", "status=NEW&until=$fifth", "until=$fifth") {
        my ($p, @forth, @back) = $http->get("/case?$filter&limit=2");
        push @forth, [ids($p)];
        while (@forth < 3 && $p->json->{next}) {
            $p = $http->get("/case?$filter&limit=2&cursor=" . $p->json->{next});
            push @forth, [ids($p)];
        }
        cmp_ok(scalar @forth, '>', 1, "$filter: pages");
        do { unshift @back, [ids($p)] } while $p = before($p);
        is_deeply(\@back, \@forth, '  back by Link over the same ones, to the first');
    }
    my $page = $http->get("/case?tag=$tag&limit=3");
    my $was = [ids($page)];
    my $new = Aegis::Case->create($http, mode => 'manual', tags => [$tag]);     # while we read
    $page = before($http->get("/case?tag=$tag&limit=3&cursor=" . $page->json->{next}));
    is_deeply([ids($page)], $was, 'the page before is what it was when a case was created');
    $page = before($page);
    is_deeply([ids($page)], [ $new->id ], '  which is on a page of its own before that');
    is(before($page), undef, '  the first one');
    is_deeply([ids($http->get("/case?tag=$tag&limit=3&cursor=" . $page->json->{next}))], $was, '  and leads on to what comes behind');
    is_deeply([ map { $_->{case_id} } @{ $http->get("/case?tag=$tag&status=ANALYZING")->json->{items} } ],
        [ (map { $made[$_]->id } 2, 1, 0), $id ], 'filtered by state');
    my $t = $made[3]->get->json->{created_at} =~ s/\+00:00$/Z/r;
    is((grep { $_->{case_id} eq $made[2]->id } @{ $http->get("/case?tag=$tag&since=$t")->json->{items} }), 0, 'since leaves out what is older');
    ok((grep { $_->{case_id} eq $made[3]->id } @{ $http->get("/case?tag=$tag&since=$t")->json->{items} }), 'and keeps what is of that time');
    is((grep { $_->{case_id} eq $made[4]->id } @{ $http->get("/case?tag=$tag&until=$t")->json->{items} }), 0, 'until leaves out what is newer');
    my $next = $http->get("/case?tag=$tag&limit=1")->json->{next};
    my $foreign = $http->get("/case?limit=1&cursor=$next");
    is($foreign->problem, 'cursor-invalid', 'a cursor of other filters is refused');
    common($foreign, 'foreign cursor');
    is($other->get("/case?tag=$tag&limit=1&cursor=$next")->problem, 'cursor-invalid', 'so is another tenant\'s');
    is_deeply($other->get("/case?tag=$tag")->json, { items => [], next => undef }, 'another tenant sees none of them');
    is_deeply($http->get('/case?tag=nobody-has-it')->json, { items => [], next => undef }, 'a tag that nobody has gives an empty page');
};

# --- modules, by hand
my ($plan, $exec, $verify);
subtest 'POST /plan/generate and GET /plan/{id}' => sub {
    my $r = $case->post('/plan/generate', template => 'incident', params => { service => 'checkout' });
    is($r->status, 201, 'a plan is made') or diag($r->brief);
    common($r, 'plan');
    $plan = $r->json;
    like($plan->{plan_id}, $uuid, 'it has an id');
    is($r->header('location'), "/plan/$plan->{plan_id}", 'Location is the plan');
    my $g = $http->get("/plan/$plan->{plan_id}");
    is($g->status, 200, 'it can be read');
    common($g, 'plan read');
    is($g->json->{case_id}, $id, 'it is the case\'s');
    ok($g->json->{complete}, 'it is complete');
    is_deeply($g->json->{missing}, [], 'nothing is missing');
    ok(@{ $g->json->{plan}{steps} } && @{ $g->json->{plan}{rollback} } && @{ $g->json->{plan}{verify} },
        'it has steps, a rollback and a verify part');
    is($case->get->json->{status}, 'ANALYZING', 'making a plan by hand does not move the case');
    is($http->get('/plan/' . uuid)->status, 404, 'an unknown plan is not found');
    is($other->get("/plan/$plan->{plan_id}")->status, 404, 'another tenant does not see it');
    my $bad = $case->post('/plan/generate', plan => Aegis::Case::echo_plan(steps => [{ action => 'echo', params => 'loud' }]));
    is($bad->problem, 'schema-violation', 'a plan that does not fit the schema is refused');
    like($bad->json->{errors}[0]{pointer}, qr{^/plan/steps/0}, 'with a pointer into it');
    is($case->post('/plan/generate', template => 'nonsense')->status, 422, 'an unknown template is refused');
};

subtest 'POST /gate/eval' => sub {
    my $early = $case->post('/gate/eval');
    is($early->problem, 'wrong-state', 'too early is refused');
    is_deeply($early->json->{allowed_states}, ['WAIT_GATE'], 'and says when it is allowed');
    common($early, 'early gate');
    $case->must('plan_ready');
    is($case->get->json->{plan_id}, $plan->{plan_id}, 'plan_ready made it the case\'s plan');
    my $began = Time::HiRes::time();
    my $r = $case->post('/gate/eval', actor => 'quickstart');
    cmp_ok(Time::HiRes::time() - $began, '<', 1, 'the decision takes less than a second');
    is($r->status, 201, 'the gate decides') or diag($r->brief);
    common($r, 'gate');
    is($r->json->{verdict}, 'approved', 'it approves the template plan') or diag($r->body);
    cmp_ok(scalar @{ $r->json->{checks} }, '>', 0, 'and says what it looked at');
    ok($case->wait_state('EXECUTING'), 'its fact moves the case to EXECUTING');
};

subtest 'POST /adapter/exec, GET /adapter/exec/{id}, GET /exec/{id}' => sub {
    my $r = $case->post('/adapter/exec');
    is($r->status, 202, 'the run is accepted') or diag($r->brief);
    common($r, 'exec');
    $exec = $r->json->{exec_id};
    like($exec, $uuid, 'it has an id');
    is($r->header('location'), "/adapter/exec/$exec", 'Location is where to look');
    my $again = $case->post('/adapter/exec');
    ok($again->problem =~ /^(already-exists|wrong-state)$/, 'a second run of the same approval is refused');
    is($again->json->{exec_id}, $exec, 'and names the first') if $again->problem eq 'already-exists';
    ok($case->wait_state('VERIFYING'), 'the run\'s fact moves the case to VERIFYING');
    for my $path ("/exec/$exec", "/adapter/exec/$exec") {
        my $g = $http->get($path);
        is($g->status, 200, "$path answers");
        common($g, $path);
        is($g->json->{state}, 'DONE', 'the run is done');
        cmp_ok(scalar @{ $g->json->{steps} }, '>', 0, 'its steps are shown');
        is_deeply([ grep { $_->{state} ne 'OK' } @{ $g->json->{steps} } ], [], 'each succeeded');
        is($other->get($path)->status, 404, 'another tenant does not see it');
    }
    is($http->get('/exec/' . uuid)->status, 404, 'an unknown run is not found');
    is($case->get->json->{exec_id}, $exec, 'the case names its run');
};

subtest 'POST /verify/run' => sub {
    my $r = $case->post('/verify/run');
    is($r->status, 201, 'the checks are made') or diag($r->brief);
    common($r, 'verify');
    ok($r->json->{passed}, 'they hold') or diag($r->body);
    $verify = $r->json->{verify_id};
    like($verify, $uuid, 'the verification has an id');
    is($r->header('location'), "/verify/$verify", 'Location is where to look');
    my $g = $http->get("/verify/$verify");
    is($g->status, 200, 'it can be read');
    common($g, 'GET verify');
    is_deeply([@{ $g->json }{qw(case_id state outcome evaluations)}], [$id, 'PASSED', 'pass', 1], 'and says how it ended');
    is(scalar @{ $g->json->{checkpoints} }, 1, 'with its one evaluation');
    is($other->get("/verify/$verify")->status, 404, 'another tenant does not see it');
    is($http->get('/verify/' . uuid)->status, 404, 'an unknown one is not found');
    my $page = $http->get("/case/$id/verify?limit=5");
    is_deeply([map { $_->{verify_id} } @{ $page->json->{items} }], [$verify], 'nor is a page of the case without it');
    ok($case->wait_state('CLOSED'), 'its fact closes the case');
    is($case->post('/verify/run')->problem, 'wrong-state', 'a closed case cannot be verified');
    is($case->say('force_park')->problem, 'illegal-transition', 'nor moved');
};

# --- LOCAL routes
subtest 'routes for machines' => sub {
    my $anyone = $stack->http('nobody');
    for my $path (qw(/healthz /livez /readyz)) {
        my $r = $anyone->get($path);
        is($r->status, 200, "$path answers without a key");
        common($r, $path);
    }
    my $m = $anyone->get('/metrics');
    is($m->status, 200, '/metrics answers');
    like($m->header('content-type'), qr{^text/plain;.*version=0\.0\.4}, 'in Prometheus text');
    my $prom = 'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
    my $om = $anyone->get('/metrics', headers => [Accept => $prom]);
    is($om->header('content-type'), 'application/openmetrics-text; version=1.0.0; charset=utf-8', 'OpenMetrics for who likes it');
    like($om->body, qr/^[^\n]*\n(?:[^\n]+\n)+# EOF\n\z/, 'which ends with # EOF, and has no empty line');
    my (%type, @stray);
    for (split /\n/, $om->body) {
        $type{$1} = $2 if /^# TYPE (\S+) (\S+)$/;
        next if /^#/;
        my ($name, $le) = /^([a-z_]+)(?:\{.*?(?:le="([^"]+)")?\})? [\d.]+$/;
        my ($ends) = grep { defined $name && $name =~ /^(.*)$_$/ && exists $type{$1} } qw(_total _bucket _sum _count), '';
        my $is = defined $ends ? $type{ $name =~ s/$ends$//r } : 'of no family';
        push @stray, "$is: $_" unless $is eq (($ends // '') eq '_total' ? 'counter' : $ends ? 'histogram' : 'gauge') && ($le // '1.0') =~ /^(?:\+Inf|.*\..*)$/;
    }
    is_deeply(\@stray, [], 'its samples are of the families that were declared, and their bounds are floats');
    is($_->header('vary'), 'Accept', 'Vary says so') for $m, $om;
    my $o = $anyone->get('/openapi.json');
    is($o->status, 200, '/openapi.json answers');
    is_deeply($o->json, json_decode(slurp(root . '/docs/openapi.json')), 'with the file of docs/');
    if (my $etag = $o->header('etag')) {
        is($anyone->get('/openapi.json', headers => ['If-None-Match', $etag])->status, 304, 'and 304 when it is known');
    }
};

# --- what holds for each route
my %fill = (plan => sub { $plan->{plan_id} }, exec => sub { $exec }, verify => sub { $verify });
my $doc = $http->write('POST', '/kb/ingest', { body => "# Routes\n\nhave documents\n" })->json->{doc_id};
for my $row (def_rows('routes', 'AEGIS_ROUTE')) {
    my ($rid, $method, $path, $kind, undef, undef, $scope) = @$row;
    my $url = $path =~ s/\{id\}/$path =~ m{^\/kb} ? $doc : $path =~ m{^\/plan} ? $plan->{plan_id} : $path =~ m{exec} ? $exec : $path =~ m{^\/verify\/} ? $verify : $id/er;
    subtest "$method $path" => sub {
        my $o = $http->request('OPTIONS', $url);
        is($o->status, 204, 'OPTIONS answers 204');
        like($o->header('allow'), qr/\b$method\b/, 'and lists the method');
        like($o->header('allow'), qr/\bOPTIONS\b/, 'and itself');
        like($o->header('allow'), qr/\bHEAD\b/, 'and HEAD beside GET') if $method eq 'GET';
        is($o->header('accept-patch'), $method eq 'PATCH' ? 'application/json' : undef, 'and what PATCH accepts');
        my $wrong = $http->request($method eq 'GET' || $method eq 'DELETE' ? 'POST' : 'GET', $url);
        # /case/create is also a place where GET /case/{id} could look
        is($wrong->status, 405, 'another method is refused') or diag($wrong->brief);
        like($wrong->header('allow') // '', qr/\b$method\b/, 'with Allow');
        common($wrong, 'wrong method');
        my $slash = $http->request($method, "$url/");
        is($slash->status, 404, 'with a slash at the end it is another path');
        return if $kind eq 'LOCAL';
        for my $cred (undef, 'Bearer wrong') {
            my $r = $http->request($method, $url, headers => [Authorization => $cred]);
            is($r->status, 401, 'no key, no answer');
            like($r->header('www-authenticate'), qr/^Bearer\b/, 'and how to come in');
            common($r, '401');
        }
        if ($scope !~ /:read$/) {
            my $r = $reader->write($method, $url, {});
            is($r->problem, 'forbidden', 'a key without the scope is refused');
            common($r, '403');
        }
        # there is no finding by the id of a case
        else { is($reader->get($kind eq 'SEARCH' ? "$url?q=x" : $url)->status, $url =~ m{^/finding/} ? 404 : 200, 'a key with the scope is enough') }
        if ($method eq 'PATCH') {
            my $r = $http->write($method, $url, '{}', headers => ['Content-Type', 'text/plain']);
            like($r->header('accept-patch'), qr{application/json}, '415 says what PATCH accepts');
        }
    };
}

subtest 'nobody sees another tenant\'s cases' => sub {
    my $theirs = Aegis::Case->create($other, mode => 'manual');
    is($theirs->{created}->json->{tenant}, 'other', 'the tenant is the key\'s');
    my $before = $stack->pg->fingerprint(case_id => $theirs->id);
    my @tries = (['GET', '/case/' . $theirs->id], ['GET', '/case/' . $theirs->id . '/timeline'],
        ['PATCH', '/case/' . $theirs->id . '/transition', { event => 'start_analysis' }],
        map({ ['POST', $_, { case_id => $theirs->id }] } qw(/plan/generate /gate/eval /adapter/exec /verify/run)));
    for my $t (@tries) {
        my ($method, $path, $body) = @$t;
        my $mine = $path =~ s/\Q${\$theirs->id}\E/${\uuid}/r;
        my $r = $body ? $http->write($method, $path, $body) : $http->get($path);
        my $none = $body ? $http->write($method, $mine, { %$body, $body->{case_id} ? (case_id => uuid) : () }) : $http->get($mine);
        is($r->status, 404, "$method $path: not found");
        is_deeply([ sort map { lc $_->[0] } @{ $r->{headers} } ], [ sort map { lc $_->[0] } @{ $none->{headers} } ],
            'with the headers of an id that nobody has');
        is_deeply({ %{ $r->json }, instance => '', trace_id => '' }, { %{ $none->json }, instance => '', trace_id => '' }, 'and its document');
    }
    is_deeply($stack->pg->fingerprint(case_id => $theirs->id), $before, 'and nothing of it changed');
    my $r = $http->write('POST', '/case/create', { title => 'x', tenant => 'other' });
    is($r->problem, 'forbidden', 'nobody creates for another tenant');
    is($http->write('POST', '/case/create', { title => 'x', mode => 'manual', tenant => 'default' })->status, 201, 'one\'s own may be named');
    my $key = new_key();
    my $a = $http->write('POST', '/case/create', { title => 'mine', mode => 'manual' }, key => $key);
    my $b = $other->write('POST', '/case/create', { title => 'theirs', mode => 'manual' }, key => $key);
    is($b->status, 201, 'a key belongs to its tenant');
    isnt($b->json->{case_id}, $a->json->{case_id}, 'another tenant\'s answer is not replayed');
    my $c = $stack->http('second')->write('POST', '/case/create', { title => 'third', mode => 'manual' }, key => $key);
    is($c->status, 201, 'and to its principal');
    isnt($c->json->{case_id}, $a->json->{case_id}, 'another principal\'s answer is not replayed');
};

is($http->get('/nothing/here')->problem, 'not-found', 'a path that no route has is not found');
common($http->get('/nothing/here'), 'unknown path');
$stack->finish;
done_testing;
