# 28tenants.t: what one tenant did, another replays: every route of routes.def
# with the first one's ids, idempotency keys, entity tags and cursors. It finds
# nothing, gets nobody's answer again, learns nothing from conditions, and changes
# nothing: 404, as for an id that nobody has, never 403 and never 304.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Def;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my ($mine, $theirs) = ($stack->http, $stack->http('other'));
my $pg = $stack->pg;

# --- one walk of the first tenant, every request and answer kept
my @done;
sub ask ($id, $method, $path, $body = undef) {
    my $key = new_key('tenant');
    my $r = $method eq 'GET' ? $mine->get($path) : $mine->write($method, $path, $body, key => $key);
    push @done, { id => $id, method => $method, path => $path, body => $body, key => $key, r => $r };
    return $r;
}

my $tag = new_key('tag');
my @words;
my $case = ask(CASE_CREATE => 'POST', '/case/create', { title => 'mine', mode => 'manual', tags => [$tag] })->json->{case_id};
ask(CASE_CREATE => 'POST', '/case/create', { title => "mine $_", mode => 'manual', tags => [$tag] }) for 1, 2;
ask(CASE_TRANSITION => 'PATCH', "/case/$case/transition", { event => 'start_analysis' });
my $plan = ask(PLAN_GENERATE => 'POST', '/plan/generate', { case_id => $case, plan => Aegis::Case::echo_plan() })->json->{plan_id};
my $finding = uuid;
$pg->do(q{INSERT INTO aegis.finding (tenant, finding_id, fingerprint, source, kind, severity, title, at, decision, rule, reason)
    VALUES ('default', ?, 'mine', 'metric', 'ewma', 'info', 'a finding', now(), 'held', 'only-info', 'for a test')}, $finding);
push @words, $finding;
push @words, ask(ANALYZE_RUN => 'POST', '/analyze/run', {})->json->{run_id};
push @words, ask(INGEST_HINT => 'POST', '/ingest/hint', Aegis::Case::hint(case_id => $case))->json->{locator_id};
ask(CASE_TRANSITION => 'PATCH', "/case/$case/transition", { event => 'plan_ready' });
ask(GATE_EVAL => 'POST', '/gate/eval', { case_id => $case });
{
    my $undo = $stack->policy("version: 1\nrules:\n  - {id: ask-$$, kind: approval, approval: {four_eyes: false}}\n");
    for my $say (['GATE_APPROVE', '/gate/approve'], ['GATE_DENY', '/gate/deny']) {
        my $other = Aegis::Case->create($mine, mode => 'manual')->drive('WAIT_GATE');
        my $hash = $other->post('/gate/eval')->json->{plan_hash};
        ask(GATE_WAITING => 'GET', '/gate/waiting?limit=1') if $say->[0] eq 'GATE_APPROVE';
        ask($say->[0], 'POST', $say->[1], { case_id => $other->id, plan_hash => $hash });
        ask(GATE_GET => 'GET', '/gate/' . $other->id);
        $other->wait_state(['EXECUTING', 'PARKED']);
        push @words, $other->id, uc $other->id, $hash;
    }
    $undo->();
}
my $c = bless { http => $mine, id => $case }, 'Aegis::Case';
$c->wait_state('EXECUTING');
my $exec = ask(EXEC_RUN => 'POST', '/adapter/exec', { case_id => $case })->json->{exec_id};
$c->wait_state('VERIFYING');
my $verify = ask(VERIFY_RUN => 'POST', '/verify/run', { case_id => $case })->json->{verify_id};
$c->wait_state('CLOSED');
{
    $stack->add_script('t-tenant.sh', "#!/bin/sh\n# waits\nexec sleep 60\n");
    my $long = Aegis::Case->create($mine, mode => 'manual')->drive('EXECUTING',
        plan => Aegis::Case::echo_plan(steps => [{ action => 'script.exec', params => { script => 't-tenant.sh', args => [] } }]));
    my $run = $long->post('/adapter/exec')->json->{exec_id};
    ask(EXEC_CANCEL => 'POST', "/exec/$run/cancel", { reason => 'seen enough' });
    $long->wait_state('PARKED');
    push @words, $long->id, uc $long->id, $run, uc $run;
}
ask(@$_) for ['CASE_GET', 'GET', "/case/$case"], ['CASE_LIST', 'GET', "/case?tag=$tag&limit=1"], ['CASE_TIMELINE', 'GET', "/case/$case/timeline?limit=1"],
    ['PLAN_GET', 'GET', "/plan/$plan"], ['PLAN_DIFF', 'GET', "/plan/$plan/diff"], ['PLAN_PAGE', 'GET', "/case/$case/plan"],
    ['EXEC_PROGRESS', 'GET', "/adapter/exec/$exec"], ['EXEC_GET', 'GET', "/exec/$exec"],
    ['FINDING_LIST', 'GET', '/finding?limit=1'], ['FINDING_GET', 'GET', "/finding/$finding"],
    ['VERIFY_GET', 'GET', "/verify/$verify"], ['INGEST_CHECK', 'GET', '/ingest/check'], ['VERIFY_PAGE', 'GET', "/case/$case/verify"];
my $doc = ask(KB_INGEST => 'POST', '/kb/ingest', { source => $tag, body => "# Mine alone\n\nwhat $tag says\n" })->json->{doc_id};
wait_for('the document to be read', 15, sub { $mine->get("/kb/doc/$doc")->json->{state} eq 'READY' });
ask(@$_) for ['KB_SEARCH', 'GET', "/kb/search?q=$tag&topk=50"], ['KB_LIST', 'GET', '/kb/doc?limit=1'], ['KB_GET', 'GET', "/kb/doc/$doc"];
$stack->quiet;

my %walked = (KB_DELETE => 1, map { $_->{id} => 1 } @done);
is_deeply([ grep { !$walked{$_} } map { $_->[0] } grep { $_->[3] ne 'LOCAL' } def_rows('routes', 'AEGIS_ROUTE') ], [],
    'the walk asks every route that needs a credential');
is_deeply([ map { "$_->{id} " . $_->{r}->brief } grep { $_->{r}->status >= 300 } @done ], [], 'and each is answered');

# --- the same by the other tenant
my $before = $pg->fingerprint(case_id => $case);
push @words, map { $_ => uc } grep { defined } $case, $plan, $exec, $verify, $doc;
sub nothing_of_mine ($r, $what) {
    is((grep { index($r->body, $_) >= 0 } grep { $_ ne ($r->{asked} // '') } @words) ? 1 : 0, 0, "$what: no id of the first is in it") or diag($r->brief);
    ok(!$r->header('idempotent-replayed'), "$what: no answer is given again");
}
for my $d (@done) {
    subtest "$d->{id} $d->{method} $d->{path}" => sub {
        my ($etag) = $d->{r}->header('etag');
        for my $with (['as it was'], $etag ? (['with its entity tag', 'If-None-Match', $etag], ['with If-Match', 'If-Match', $etag], ['with any', 'If-None-Match', '*']) : ()) {
            my ($what, @h) = @$with;
            next if $d->{body} && @h && $h[0] eq 'If-None-Match';
            next if $d->{id} eq 'CASE_CREATE' && @h;
            next if $d->{id} eq 'KB_INGEST' && @h;
            my $r = $d->{body} ? $theirs->write($d->{method}, $d->{path}, $d->{body}, key => $d->{key}, headers => [@h])
                : $theirs->get($d->{path}, headers => [@h]);
            nothing_of_mine($r, $what);
            if ($d->{id} eq 'CASE_CREATE') {
                is($r->status, 201, "$what: a case of its own");
                is($r->json->{tenant}, 'other', "$what: in its own tenant");
            }
            elsif ($d->{id} eq 'INGEST_CHECK') { is($r->json->{tenant}, 'other', "$what: its own name") }
            elsif ($d->{id} eq 'KB_INGEST') {
                is($r->status, 202, "$what: a document of its own");
                is($r->json->{tenant}, 'other', "$what: in its own tenant");
            }
            elsif ($d->{id} =~ /^KB_(SEARCH|LIST)$/) {
                ok($r->status =~ /^(200|304|412)$/, "$what: passages and documents of its own");
                is((grep { $_->{tenant} && $_->{tenant} ne 'other' } @{ $r->json->{items} // [] }), 0, "$what: no other") if $r->status == 200;
            }
            elsif ($d->{id} eq 'ANALYZE_RUN') { is($r->status, $what =~ /If-Match/ ? $r->status : 202, "$what: a round for its own") }
            elsif ($d->{id} =~ /^(?:GATE_WAITING|FINDING_LIST)$/) { is($r->status, 200, "$what: a list of its own") unless $r->status =~ /^(304|412)$/ }
            elsif ($d->{id} eq 'CASE_LIST') {
                is((grep { $_->{tenant} && $_->{tenant} ne 'other' } @{ $r->json->{items} // [] }), 0, "$what: nothing of another tenant in the list");
            }
            else {
                is($r->status, 404, "$what: not found") or diag($r->brief);
                is($r->problem, 'not-found', "$what: and nothing else is said");
                ok(!$r->header('etag'), "$what: no entity tag");
            }
        }
    };
}

subtest 'KB_DELETE' => sub {
    is($theirs->write('DELETE', "/kb/doc/$doc", undef)->status, 404, 'the other does not find what it would delete');
    is($mine->get("/kb/doc/$doc")->status, 200, 'and it is there still');
    my $key = new_key('tenant');
    is($mine->write('DELETE', "/kb/doc/$doc", undef, key => $key)->status, 200, 'its owner does');
    is($theirs->write('DELETE', "/kb/doc/$doc", undef, key => $key)->status, 404, 'with the same key the other gets no answer again');
};

subtest 'cursors' => sub {
    my $n = 0;
    for my $d (grep { $_->{id} =~ /^CASE_(LIST|TIMELINE)$/ } @done) {
        my $next = $d->{r}->json->{next} or next;
        $n++;
        my $url = $next =~ m{^/} ? $next : "$d->{path}&cursor=$next";
        is($mine->get($url)->status, 200, "$d->{id}: its own cursor leads on") or diag($url);
        my $r = $theirs->get($url);
        ok($r->problem =~ /^(cursor-invalid|not-found)$/, "$d->{id}: another tenant's does not: " . $r->problem);
        nothing_of_mine($r, $d->{id});
    }
    is($n, 2, 'both pages had one');
};

$stack->quiet;
is_deeply([ Aegis::Pg::changed($before, $pg->fingerprint(case_id => $case)) ], [], 'nothing of the first tenant changed');
my $mine_again = $mine->write('PATCH', "/case/$case/transition", { event => 'start_analysis' }, key => (grep { $_->{id} eq 'CASE_TRANSITION' } @done)[0]{key});
is($mine_again->header('idempotent-replayed'), 'true', 'and its own keys still answer') or diag($mine_again->brief);

$stack->finish;
done_testing;
