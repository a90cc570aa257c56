# 32planner.t: the planner over a whole installation: bodies in YAML under limits.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;

sub yaml ($text, %req) {
    return $http->write('POST', '/plan/generate', $text, %req, headers => ['Content-Type', $req{type} // 'application/yaml']);
}

subtest 'a plan in YAML' => sub {
    my $case = Aegis::Case->create($http, mode => 'manual', title => 'by hand');
    my $id = $case->id;
    my $text = <<~"YAML";
        # a person writes comments
        case_id: $id
        plan:
          title: Restart checkout
          risk_score: 0.25
          steps:
            - {action: echo, name: say, params: {message: "one\\ntwo"}, timeout_s: 60, retry_safe: true}
          rollback:
            - action: echo
          verify:
            - kind: exec
        YAML
    my $r = yaml($text, key => (my $key = new_key()));
    is($r->status, 201, 'is taken') or diag($r->brief);
    ok($r->json->{complete}, 'and complete');
    my $json = $case->post('/plan/generate', plan => { title => 'Restart checkout', risk_score => 0.25, rollback => [{ action => 'echo' }],
        steps => [{ action => 'echo', name => 'say', params => { message => "one\ntwo" }, timeout_s => 60, retry_safe => \1 }], verify => [{ kind => 'exec' }] });
    is($json->json->{hash}, $r->json->{hash}, 'the same in JSON is the same plan');
    is_deeply([$json->json->{revision}, $r->json->{revision}], [2, 1], 'revisions count');
    is(yaml($text, key => $key)->header('idempotent-replayed'), 'true', 'a retry is answered again');
    is(yaml($text =~ s/60/61/r, key => $key)->problem, 'idempotency-key-reused', 'another text under the same key is not');
    is(yaml($text, type => 'Application/YAML; charset=UTF-8')->status, 201, 'the media type is written as one likes');

    my $bad = yaml($text =~ s/echo, name: say/echo, name: [1]/r);
    is($bad->problem, 'schema-violation', 'what does not fit is refused as in JSON');
    is($bad->json->{errors}[0]{pointer}, '/plan/steps/0/name', 'with a JSON pointer');
    is(yaml($text =~ s/timeout_s: 60/timeout_s: '60'/r)->json->{errors}[0]{pointer}, '/plan/steps/0/timeout_s', 'quotes make a string');
};

subtest 'YAML that is refused' => sub {
    my $before = $pg->one('SELECT count(*) FROM aegis.plan_proposed');
    my $lol = "a: &a [x,x,x,x,x,x,x,x,x]\n" . join '', map { my $p = chr(ord('a') + $_ - 1); chr(ord('a') + $_) . ": &" . chr(ord('a') + $_)
        . ' [' . join(',', ("*$p") x 9) . "]\n" } 1 .. 9;
    for my $c (['the billion laughs', $lol, 400, qr/^1:4: an anchor/], ['an alias', "case_id: *x\n", 400, qr/^1:10: an alias/],
            ['a tag', "case_id: !!binary aGk=\n", 400, qr/^1:10: a tag/], ['a key twice', "a: 1\na: 2\n", 400, qr/^2:1: this key/],
            ['two documents', "a: 1\n---\nb: 1\n", 400, qr/^2:1: more than one/], ['a tab for indentation', "a:\n\tb: 1\n", 400, qr/^2:1: /],
            ['a list', "- a\n", 400, qr/not an object/], ['nothing', "# nothing\n", 400, qr/not an object/], ['UTF-16', "\xff\xfea\0:\0", 400, qr/^1:/],
            ['30000 levels', 'a: ' . '[' x 30000, 400, qr/too deep/], ['30000 nodes', 'a: [' . 'x,' x 30000 . ']', 400, qr/too many nodes/],
            ['a number with no room', 'a: 1e999', 400, qr/number/], ['131073 bytes', 'a: ' . 'x' x 131070, 413, qr/131072/],
            ['JSON that is none', '{"a":', 400, qr/flow node/], ['no field', 'colour: red', 422, qr/./]) {
        my ($what, $text, $status, $detail) = @$c;
        my $r = yaml($text);
        is($r->status, $status, "$what: $status") or diag($r->brief);
        is($r->problem, { 400 => 'malformed-yaml', 413 => 'too-large', 422 => 'schema-violation' }->{$status}, "$what: with its code");
        like($r->json->{detail}, $detail, "$what: and its place") or diag($r->body);
    }
    is($pg->one('SELECT count(*) FROM aegis.plan_proposed'), $before, 'no plan came of it');
    my $r = yaml('a: 1', type => 'text/yaml');
    is($r->problem, 'unsupported-media-type', 'another media type is not taken');
    is($r->header('accept'), 'application/json, application/yaml', 'and both of ours are named');
    my $create = $http->write('POST', '/case/create', 'title: x', headers => ['Content-Type', 'application/yaml']);
    is($create->problem, 'unsupported-media-type', 'YAML is taken where it is said to be');
    is($create->header('accept'), 'application/json', 'and nowhere else');
};

# A JSON Patch applied by other code than made it.
sub patched ($doc, $ops) {
    for my $o (@$ops) {
        my @path = map { s{~1}{/}gr =~ s{~0}{~}gr } split m{/}, $o->{path}, -1;
        shift @path;
        my $last = pop @path;
        my $at = $doc;
        $at = ref $at eq 'ARRAY' ? $at->[$_] : $at->{$_} for @path;
        if (ref $at eq 'ARRAY') { splice @$at, $last, $o->{op} ne 'add', $o->{op} eq 'remove' ? () : $o->{value} }
        elsif ($o->{op} eq 'remove') { delete $at->{$last} }
        else { $at->{$last} = $o->{value} }
    }
    return $doc;
}

sub plans_of ($id) { return @{ $pg->rows('SELECT * FROM aegis.plan_proposed WHERE case_id = ? ORDER BY revision', $id) } }

subtest 'resume makes the next revision, with why the last one failed in it' => sub {
    my $case = Aegis::Case->create($http, title => 'it fails', labels => { script => 'nobody-has-it.sh', service => 'checkout' });
    my $parked = $case->wait_state('PARKED', 40) or return;
    my ($first) = plans_of($case->id);
    my $plan = json_decode($first->{plan});
    is($first->{revision}, 1, 'the first plan is revision 1');
    is((grep { $_->{kind} eq 'finding' && length $_->{summary} } @{ $plan->{evidence} }), 1, 'with what the analyst found in it');
    my ($took) = $pg->one(q{SELECT extract(epoch FROM (SELECT min(created_at) FROM aegis.plan_proposed WHERE case_id = ?)
        - (SELECT created_at FROM aegis.case_timeline WHERE case_id = ? AND to_status = 'PLANNING' ORDER BY version LIMIT 1))}, $case->id, $case->id);
    note("the first plan was there after $took s");
    my $resumed = $case->must('resume')->json;
    ok(wait_for('the second failure', 40, sub { my $j = $case->get->json; $j->{status} eq 'PARKED' && $j->{version} > $resumed->{version} }), 'it is tried again');
    my @plans = plans_of($case->id);
    is_deeply([ map { $_->{revision} } @plans ], [1, 2], 'as revision 2');
    isnt($plans[1]{hash}, $plans[0]{hash}, 'of another hash');
    is($plans[1]{template}, $plans[0]{template}, 'of the same template');
    my %e = map { $_->{kind} => $_ } @{ json_decode($plans[1]{plan})->{evidence} };
    like($e{failure}{summary} // '', qr/^revision 1: .*\bscript\.exec\b/s, 'it says which step failed') or diag($plans[1]{plan});
    is($e{failure}{id}, "version $parked->{version}", 'and at which version');
    is($e{plan}{id}, $plans[0]{plan_id}, 'and names the revision before');

    my @items = map { $http->get('/case/' . $case->id . "/plan?limit=1$_")->json } '', '';
    my $next = $http->get('/case/' . $case->id . "/plan?limit=1&cursor=$items[0]{next}")->json;
    is_deeply([ map { $_->{items}[0]{revision}, $_->{items}[0]{plan_id}, $_->{items}[0]{current} ? 1 : 0 } $items[0], $next ],
        [1, $plans[0]{plan_id}, 0, 2, $plans[1]{plan_id}, 1], 'both can be listed, a page at a time');
    is($next->{next}, undef, 'and there are no more');
    my $diff = $http->get("/plan/$plans[1]{plan_id}/diff")->json;
    is_deeply([ @{ $diff->{from} }{qw(plan_id revision hash)}, @{ $diff->{to} }{qw(plan_id revision hash)} ],
        [ @{ $plans[0] }{qw(plan_id revision hash)}, @{ $plans[1] }{qw(plan_id revision hash)} ], 'the difference is between the two');
    is_deeply([ sort map { $_->{path} =~ m{^(/[a-z]+)} } grep { $_->{path} !~ m{^/(?:evidence|notes)} } @{ $diff->{operations} } ], [],
        'only what it was made on differs') or diag(json_encode($diff));
    is_deeply(patched(json_decode($plans[0]{plan}), $diff->{operations}), json_decode($plans[1]{plan}), 'the operations lead from one to the other');
    my $back = $http->get("/plan/$plans[0]{plan_id}/diff?from=$plans[1]{plan_id}")->json;
    is_deeply(patched(json_decode($plans[1]{plan}), $back->{operations}), json_decode($plans[0]{plan}), 'and back, when asked from the other one');
    my $one = $http->get("/plan/$plans[0]{plan_id}/diff")->json;
    is_deeply([ $one->{from}, map { @$_{qw(op path)} } @{ $one->{operations} } ], [undef, 'replace', ''], 'the first revision is new as a whole');
    my $other = Aegis::Case->create($http, mode => 'manual')->post('/plan/generate', plan => Aegis::Case::echo_plan())->json->{plan_id};
    is($http->get("/plan/$plans[0]{plan_id}/diff?from=$other")->status, 404, 'a plan of another case is no revision of this one');
    is($http->get("/plan/$plans[0]{plan_id}/diff?limit=1")->status, 400, 'and nothing else is asked for');
};

subtest 'a template of a label, its params kept' => sub {
    my $case = Aegis::Case->create($http, mode => 'manual', title => 'more', labels => { template => 'scale', namespace => 'shop', workload => 'web' });
    my $bad = $case->post('/plan/generate');
    is($bad->problem, 'schema-violation', 'what the template requires is asked for');
    is_deeply([ sort map { $_->{pointer} } @{ $bad->json->{errors} } ], ['/params/replicas', '/params/replicas_before'], 'by pointer');
    my $r = $case->post('/plan/generate', params => { replicas => 6, replicas_before => 3 });
    is($r->status, 201, 'and taken') or diag($r->brief);
    is($r->json->{template}, 'scale', 'the label chose it');
    is_deeply($http->get('/plan/' . $r->json->{plan_id})->json->{params}, { replicas => 6, replicas_before => 3 }, 'its params can be read');
    my $again = $case->post('/plan/generate');
    is_deeply([ $again->status, $again->json->{revision}, $again->json->{plan}{steps}[0]{params}{replicas} ], [201, 2, 6], 'the next revision has the same params');
    my $none = $case->post('/plan/generate', template => 'nonsense');
    like($none->json->{errors}[0]{detail}, qr/canary, change, config-flip, incident, rolling-restart, scale/, 'who asks for another is told which there are');
};

subtest 'an incomplete plan is stored, and stopped with what is missing' => sub {
    my $case = Aegis::Case->create($http, mode => 'manual');
    my $r = $case->post('/plan/generate', plan => { title => 'half', steps => [{ action => 'echo' }] });
    is($r->status, 201, 'stored');
    is_deeply($r->json->{missing}, ['rollback', 'verify'], 'it says what is missing');
    $case->drive('ANALYZING');
    my $no = $case->say('plan_ready');
    is($no->problem, 'guard-failed', 'the guard stops it');
    is_deeply($no->json->{missing}[0]{lacks}, ['rollback', 'verify'], 'and names the parts that are not there');
    like($no->json->{missing}[0]{detail}, qr/; revision 1 lacks rollback and verify$/, 'in words too');
    my $without = Aegis::Case->create($http, mode => 'manual')->drive('ANALYZING')->say('plan_ready');
    like($without->json->{missing}[0]{detail}, qr/; there is no plan$/, 'no plan is none at all') or diag($without->brief);
};

done_testing;
