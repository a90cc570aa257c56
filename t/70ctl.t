# 70ctl.t: aegisctl, the operator's hand: every command as a table and as JSON,
# its exit codes as aegisctl(1) documents them, retries that take effect once,
# and doctor: silent about a healthy installation, and right about each of the
# things that can be wrong with one.
use v5.36;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->own('ctl', durable => 1);
my $pg = $stack->pg;
my $bin = build_dir . '/aegisctl';
my $env_file = $stack->run_dir . '/aegis.env';
my %clean = map { $_ => undef } qw(AEGIS_URL AEGIS_CA AEGIS_TOKEN DATABASE_URL NATS_URL AEGIS_CONF AEGIS_SQL_DIR AEGIS_METRICS);

sub ctl (@args) { return run([$bin, '--env-file', $env_file, @args], env => { %clean, NO_COLOR => 1, san_env }, timeout => 60) }

sub ok_ctl ($what, @args) {
    my $r = ctl(@args);
    is($r->{rc}, 0, "$what: exit code 0") or diag($r->{out} . $r->{err});
    return $r;
}

sub json_ctl ($what, @args) {
    my $r = ok_ctl("$what -o json", @args, '-o', 'json');
    my $j = eval { json_decode($r->{out}) };
    ok(defined $j, "$what -o json: it is JSON") or diag($r->{out});
    return $j;
}

sub fails ($rc, $what, $re, @args) {
    my $r = ctl(@args);
    is($r->{rc}, $rc, "$what: exit code $rc") or diag($r->{out} . $r->{err});
    like($r->{err}, $re, "$what: and says why");
    return $r;
}

my $id;
subtest 'case' => sub {
    $id = ok_ctl('case create -q', 'case', 'create', 'checkout is slow', '--mode', 'manual', '--severity', 'error', '-t', 'db', '-t', 'shop',
        '-l', 'env=staging', '--reason', 'paged', '--actor', 'quickstart', '--correlation-id', 'c-1', '-q')->{out} =~ s/\s+\z//r;
    like($id, qr/^[0-9a-f-]{36}$/, 'it prints the id and nothing else');
    my $j = json_ctl('case get', 'case', 'get', $id);
    is_deeply([ @$j{qw(title mode severity reason correlation_id)}, $j->{tags}, $j->{labels} ],
        ['checkout is slow', 'manual', 'error', 'paged', 'c-1', ['db', 'shop'], { env => 'staging' }], 'every option has arrived');
    like(ok_ctl('case get', 'case', 'get', $id)->{out}, qr/checkout is slow/, 'as a table too');
    my $l = json_ctl('case list', 'case', 'list', '--tag', 'shop');
    is($l->{items}[0]{case_id}, $id, 'case list finds it');
    like(ok_ctl('case list', 'case', 'list', '--status', 'NEW')->{out}, qr/^CASE\s+STATUS.*\n\Q$id\E\s+NEW/m, 'as a table too');
    my $t = json_ctl('case transition', 'case', 'transition', $id, 'start_analysis', '--expected-version', '1', '--reason', 'look', '--meta', '{"n":1}');
    is($t->{status}, 'ANALYZING', 'case transition moves it');
    fails(1, 'another expected version', qr/version/, 'case', 'transition', $id, 'force_park', '--expected-version', '1');
    fails(1, 'another If-Match', qr/match|version/i, 'case', 'transition', $id, 'force_park', '--if-match', '1');
    fails(1, 'an illegal event', qr/not legal|illegal/, 'case', 'transition', $id, 'exec_done');
    fails(1, 'a guard', qr/plan/, 'case', 'transition', $id, 'plan_ready');
    fails(1, 'an event that does not exist', qr/event/, 'case', 'transition', $id, 'explode');
    my $key = new_key();
    my @twice = map { ok_ctl("the same key ($_)", 'case', 'transition', $id, 'force_park', '--idempotency-key', $key)->{out} } 1, 2;
    is($twice[0], $twice[1], 'the same key gives the same answer');
    is($pg->one('SELECT version FROM aegis.ops_case WHERE case_id = ?', $id), 3, 'and one effect');
    my $tl = json_ctl('case timeline', 'case', 'timeline', $id);
    is_deeply([ map { $_->{event} } @{ ref $tl eq 'HASH' ? $tl->{items} : $tl } ], [qw(create start_analysis force_park)], 'case timeline tells it');
    like(ok_ctl('case timeline', 'case', 'timeline', $id)->{out}, qr/start_analysis.*erin|start_analysis/s, 'as a table too');
    fails(4, 'a case that is not there', qr/no such|not found/i, 'case', 'get', uuid);
    my $auto = ok_ctl('an auto case', 'case', 'create', 'by itself', '-q')->{out} =~ s/\s+\z//r;
    my $w = ok_ctl('case watch', 'case', 'watch', $auto, '--for', '60');
    like($w->{out}, qr/ANALYZING.*PLANNING.*WAIT_GATE.*EXECUTING.*VERIFYING.*CLOSED/s, 'case watch prints each transition and ends with CLOSED');
    my $waits = Aegis::Case->create($stack->http, mode => 'manual')->id;
    is(ctl('case', 'watch', $waits, '--for', '1')->{rc}, 6, 'case watch --for ends with 6 when it waits in vain');
};

subtest 'exit codes' => sub {
    fails(2, 'no noun', qr/usage|noun/i);
    fails(2, 'an unknown noun', qr/teapot/, 'teapot');
    fails(2, 'an unknown verb', qr/fly/, 'case', 'fly');
    fails(2, 'an unknown option', qr/colour/, 'case', 'list', '--colour', 'red');
    fails(2, 'an argument too few', qr/usage/i, 'case', 'get');
    fails(2, 'an argument too many', qr/usage/i, 'case', 'get', $id, $id);
    fails(2, 'a limit that is none', qr/limit|number/i, 'case', 'list', '--limit', 'many');
    fails(3, 'no gateway there', qr/connect|reach/i, 'case', 'list', '--server', 'https://127.0.0.1:' . free_port());
    fails(3, 'no database there', qr/connect|refused/i, 'outbox', 'lag', '-d', 'host=127.0.0.1 dbname=aegis user=x port=' . free_port());
    my $token = spew(scratch() . '/token', "nobody-knows-me\n");
    fails(5, 'a token that is none', qr/401|authenticat|token/i, 'case', 'list', '--token-file', $token);
    my $reader = spew(scratch() . '/reader', $stack->token('reader') . "\n");
    fails(5, 'a token without the scope', qr/403|not allow/i, 'case', 'create', 'x', '--token-file', $reader);
    fails(3, 'a CA that did not sign', qr/certificate|TLS|SSL|CA/i, 'case', 'list', '--ca', '/etc/ssl/certs/ca-certificates.crt') if -e '/etc/ssl/certs/ca-certificates.crt';
    for my $args ([], ['case'], ['case', 'create'], ['dlq', 'retry'], ['db', 'migrate'], ['doctor']) {
        my $r = ctl(@$args, '--help');
        is($r->{rc}, 0, "@$args --help: exit code 0");
        like($r->{out}, qr/usage|case|more/i, "@$args --help: helps");
    }
    like(ok_ctl('--version', '--version')->{out}, qr/\d+\.\d+\.\d+/, 'it knows its version');
    my $r = run([$bin, 'case', 'list'], env => { %clean, san_env });
    isnt($r->{rc}, 0, 'without an address it does nothing');
    like($r->{err}, qr/AEGIS_URL|--server/, 'and says what it needs');
};

subtest 'outbox, db, fsm, config, completion' => sub {
    is(json_ctl('outbox lag', 'outbox', 'lag')->{pending}, 0, 'nothing is pending') if $stack->quiet;
    like(ok_ctl('outbox lag', 'outbox', 'lag', '--max-age', '5')->{out}, qr/0 pending/, 'as a sentence too');
    my $db = json_ctl('db status', 'db', 'status');
    is((grep { ($_->{state} // '') ne 'applied' } ref $db eq 'ARRAY' ? @$db : @{ $db->{scripts} // [] }), 0, 'every script is applied');
    ok_ctl('db migrate', 'db', 'migrate', '-d', $stack->e('DATABASE_ADMIN_URL'));
    ok_ctl('db maintain', 'db', 'maintain');
    my $fsm = json_ctl('fsm show', 'fsm', 'show');
    ok(ref $fsm, 'fsm show gives the machine');
    like(ok_ctl("fsm show -f $_", 'fsm', 'show', '-f', $_)->{out}, qr/WAIT_GATE|case-create|\/case\/create|cmd\.|illegal|relay|2020-12/i, "fsm show -f $_ prints it")
        for qw(mermaid markdown json sql errors routes subjects settings statements plan-schema);
    like(ok_ctl('fsm explain 410', 'fsm', 'explain', '410')->{out}, qr/gate_approved/, 'a rule is explained');
    my $e = ok_ctl('fsm explain --case', 'fsm', 'explain', '--case', $id)->{out};
    like($e, qr/110/, 'so is a timeline');
    like(ok_ctl('fsm explain --version', 'fsm', 'explain', '--case', $id, '--version', '3')->{out}, qr/force_park|290/, 'and one row of it');
    fails(4, 'a rule that is not there', qr/rule/, 'fsm', 'explain', '411');
    ok_ctl('config check', 'config', 'check');
    my $show = ok_ctl('config check --show', 'config', 'check', '--show')->{out};
    my $pw = slurp($stack->run_dir . '/secrets/worker') =~ s/\s+\z//r;
    ok(index($show, $pw) < 0, 'secrets are masked');
    my $bad = spew(scratch('conf') . '/aegis.yaml', "database:\n  url: \"x\"\nrelai:\n  batch: 3\n");
    my $r = ctl('config', 'check', '-c', $bad);
    is($r->{rc}, 1, 'a bad file: exit code 1');
    like($r->{out} . $r->{err}, qr/aegis\.yaml:3:\d+.*relai.*relay/s, 'with line, column and the nearest name');
    my $edited = slurp($stack->run_dir . '/conf/aegis.yaml') . "\nanalyze: {rules_file: " . scratch('conf') . "/wrong.yaml}\n";
    spew(scratch('conf') . '/wrong.yaml', "version: 1\nrules:\n  - name: x\n    above: high\n");
    $bad = spew($stack->run_dir . '/conf/wrong-rules.yaml', $edited);
    $r = ctl('config', 'check', '-c', $bad);
    is($r->{rc}, 1, 'rules of detectors that are wrong');
    like($r->{out}, qr{wrong\.yaml.*/rules/0/above.*line 4}, 'with file, pointer and line');
    $r = run([build_dir . '/aegis-worker', '-c', $bad, '--check', 'analyst'], env => { %clean, san_env });
    ok($r->{rc} == 3 && $r->{err} =~ /rules.0.above.*line 4/, 'aegis-worker --check says it too');
    unlink $bad;
    for my $shell (qw(bash zsh)) {
        my $text = ok_ctl("completion $shell", 'completion', $shell)->{out};
        like($text, qr/transition/, "completion $shell knows the verbs");
        next unless have($shell);
        is(run([$shell, '-n', spew(scratch() . "/completion.$shell", $text)])->{rc}, 0, "completion $shell can be read by $shell");
    }
};

# The first block of this language in a page that begins so, as a file.
sub block ($page, $begin, $name, $head = '', $tail = '') {
    my ($text) = slurp(root . "/docs/$page") =~ /^```(?:yaml|json)\n(\Q$begin\E.*?)^```/ms or die "$page has no block that begins with $begin";
    return spew(scratch('pages') . "/$name", $head . $text . $tail);
}

subtest 'what the pages show can be used' => sub {
    my $plan = '{"title":"x","steps":[{"action":"echo","params":{"message":"a"}}],"rollback":[{"action":"echo","params":{"message":"a"}}],';
    ok_ctl('planner.md: a template', 'plan', 'check', block('planner.md', 'template:', 'restart.yaml'));
    ok_ctl('executor.md: a plan', 'plan', 'check', block('executor.md', 'steps:', 'steps.yaml', "title: x\n"));
    ok_ctl('adapters.md: a plan', 'plan', 'check', block('adapters.md', '{"title"', 'adapters.json'));
    ok_ctl('verifier.md: checks', 'plan', 'check', block('verifier.md', '"verify"', 'checks.json', $plan, '}'));
    ok_ctl('gatekeeper.md: a policy', 'policy', 'check', block('gatekeeper.md', 'version:', 'policy.yaml'));
    ok_ctl('analyst.md: rules', 'detectors', 'check', block('analyst.md', 'version:', 'detectors.yaml'));
};

subtest 'dlq' => sub {
    is_deeply(json_ctl('dlq list', 'dlq', 'list'), [], 'at first there is none');
    my @msg = map { $stack->publish_fact('evt.exec.done.v1', case_id => uuid, version => $_) } 1 .. 3;
    wait_for('three dead letters', 30, sub { $pg->one('SELECT count(*) FROM aegis.dead_letter') == 3 });
    my @l = @{ json_ctl('dlq list', 'dlq', 'list') };
    is(scalar @l, 3, 'dlq list shows what could not be handled');
    like(ok_ctl('dlq list', 'dlq', 'list', '--consumer', 'aegis-fsm')->{out}, qr/not-found/, 'with the reason');
    my $show = ok_ctl('dlq show', 'dlq', 'show', $l[0]{id})->{out};
    like($show, qr/evt\.exec\.done\.v1/, 'dlq show shows one');
    like($show, qr/specversion/, 'with its payload');
    ok_ctl('dlq drop', 'dlq', 'drop', $l[0]{id});
    is(scalar @{ json_ctl('dlq list', 'dlq', 'list') }, 2, 'dlq drop takes it off the list');
    ok_ctl('dlq retry', 'dlq', 'retry', $l[1]{id});
    ok(wait_for('it to come back', 30, sub { $pg->one('SELECT count(*) FROM aegis.dead_letter') == 4 }), 'dlq retry sends it again; it fails again, as a new letter');
    is($pg->one('SELECT state FROM aegis.dead_letter WHERE id = ?', $l[1]{id}), 'RETRIED', 'and the old one is marked');
    ok_ctl('dlq drop --all', 'dlq', 'drop', '--all');
    is_deeply(json_ctl('dlq list', 'dlq', 'list'), [], 'dlq drop --all leaves none');
    cmp_ok(scalar @{ json_ctl('dlq list --all', 'dlq', 'list', '--all') }, '==', 4, 'dlq list --all still knows them');
    fails(4, 'a letter that is not there', qr/no |not/i, 'dlq', 'show', '999999');
};

# --- doctor
sub doctor (@args) {
    my $r = ctl('doctor', '-o', 'json', @args);
    return ($r->{rc}, { map { $_->{check} => $_ } @{ (eval { json_decode($r->{out}) }) // [] } }, $r);
}

# Something is broken by code; doctor must name it, say what to do, and be
# content again when it is undone.
sub ill ($what, $check, $break, $mend, %opt) {
    subtest "doctor: $what" => sub {
        $break->();
        my ($rc, $all);
        wait_for('doctor to see it', 30, sub {
            ($rc, $all) = doctor(@{ $opt{args} // [] });
            grep { $_->{state} ne 'ok' && $_->{check} =~ $check } values %$all;
        });
        my ($found) = grep { $_->{state} ne 'ok' && $_->{check} =~ $check } values %$all;
        ok($found, 'it is seen') or diag(json_encode($all));
        isnt($rc, 0, 'by the exit code too') unless $opt{warns};
        ok(length($found->{detail} // ''), 'with what it is: ' . ($found->{detail} // ''));
        ok(length($found->{remedy} // ''), 'and what to do: ' . ($found->{remedy} // ''));
        $mend->();
        my $well = wait_for('doctor to be content', 60, sub { ($rc, $all) = doctor(); $rc == 0 && !grep { $_->{state} ne 'ok' } values %$all });
        ok($well, 'when it is mended it is content') or diag(json_encode([ grep { $_->{state} ne 'ok' } values %$all ]));
    };
}

subtest 'doctor: a healthy installation' => sub {
    my ($rc, $all, $r) = doctor();
    is($rc, 0, 'exit code 0') or diag($r->{out});
    is_deeply([ grep { $all->{$_}{state} ne 'ok' } sort keys %$all ], [], 'every check is ok');
    cmp_ok(scalar keys %$all, '>=', 15, 'it looks at many things: ' . join ', ', sort keys %$all);
};

ill('NATS is away', qr/nats|AEGIS_/i, sub { kill 'TERM', $stack->pid('nats'); wait_for('nats to end', 10, sub { !$stack->pid('nats') }) },
    sub { $stack->_script('up'); $stack->_read_env; delete $stack->{nats}; $pg->disconnect });
ill('a worker is away', qr/worker/, sub { kill 'STOP', $stack->pid('gate.sup'); kill 'KILL', $stack->pid('gate') },
    sub { kill 'CONT', $stack->pid('gate.sup'); $stack->wait_worker('gate') });
ill('the gateway is away', qr/gateway/, sub { kill 'QUIT', $stack->pid('nginx'); wait_for('nginx to end', 20, sub { !$stack->pid('nginx') }) },
    sub { $stack->_script('up'); $stack->_read_env; delete $stack->{nats}; $pg->disconnect });
ill('a role has a right too many', qr/right/, sub { $pg->do('GRANT DELETE ON aegis.case_timeline TO aegis_gateway') },
    sub { $pg->do('REVOKE DELETE ON aegis.case_timeline FROM aegis_gateway') });
ill('a dead letter', qr/dead letters/, sub { $pg->do(q{INSERT INTO aegis.dead_letter (consumer, subject, msg_id, code, reason, payload) VALUES ('c', 's', 'm', 'x', 'y', '')}) },
    sub { $pg->do(q{DELETE FROM aegis.dead_letter WHERE consumer = 'c'}) }, warns => 1);
ill('a case that is stuck', qr/stuck/, sub { $pg->do(q{INSERT INTO aegis.ops_case (tenant, case_id, title, status, version, mode, updated_at, created_at, nudges, nudged_at)
        VALUES ('default', '00000000-0000-4000-8000-000000000001', 'stuck', 'EXECUTING', 5, 'auto', now() - interval '2 h', now() - interval '2 h', 9, now())}) },
    sub { $pg->do(q{DELETE FROM aegis.ops_case WHERE title = 'stuck'}); $pg->do(q{DELETE FROM aegis.outbox WHERE case_id = '00000000-0000-4000-8000-000000000001'}) }, warns => 1);
ill('an old backlog', qr/outbox/, sub { kill 'STOP', $stack->pid('relay'); $pg->do(q{INSERT INTO aegis.outbox (tenant, case_id, version, part, msg_id, subject, data, created_at)
        VALUES ('t', gen_random_uuid(), 1, 3, 'old', 'evt.case.transition.v1', '{}', now() - interval '1 h')}) },
    sub { $pg->do(q{DELETE FROM aegis.outbox WHERE msg_id = 'old'}); kill 'CONT', $stack->pid('relay') });
ill('rows that missed their partition', qr/default partition/, sub { $pg->do(q{INSERT INTO aegis.inbox (tenant, consumer, msg_id, outcome, day) VALUES ('t', 'c', 'lost', 'ok', date '2020-01-01')}) },
    sub { $pg->do(q{DELETE FROM aegis.inbox WHERE msg_id = 'lost'}) }, warns => 1);
ill('partitions that end', qr/partitions/, sub { $pg->do("DROP TABLE aegis.$_") for @{ $pg->dbh->selectcol_arrayref(q{SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'aegis' AND c.relname ~ '^(outbox|inbox|idempotency|metric_1m)_[0-9]{8}$' AND to_date(right(c.relname, 8), 'YYYYMMDD') > (now() AT TIME ZONE 'UTC')::date}) } },
    sub { ctl('db', 'maintain', '-d', $stack->e('DATABASE_ADMIN_URL')) });
ill('scripts that were not applied', qr/schema/, sub { spew($stack->run_dir . '/sql/functions/60_new.sql', "-- new\nSELECT 1;\n") },
    sub { unlink $stack->run_dir . '/sql/functions/60_new.sql' });
ill('a configuration that is wrong', qr/configuration/, sub { rename $stack->run_dir . '/conf/policy.yaml', $stack->run_dir . '/conf/policy.away' },
    sub { rename $stack->run_dir . '/conf/policy.away', $stack->run_dir . '/conf/policy.yaml' });
ill('a token that is none', qr/token/, sub { }, sub { }, args => ['--token-file', spew(scratch() . '/token2', "nobody\n")]);
# its worker, which would make such a consumer anew, is away
ill('a stream that lost messages which a consumer has seen', qr/AEGIS_FACT/, sub {
        kill 'STOP', $stack->pid('fsm.sup');
        kill 'KILL', $stack->pid('fsm');
        kill 'KILL', my $nats = $stack->pid('nats');
        wait_for('nats-server to end', 10, sub { !alive($nats) });
        unlink glob $stack->run_dir . '/nats/store/jetstream/$G/streams/AEGIS_FACT/msgs/*';
        $stack->start_nats;
    }, sub {
        kill 'CONT', $stack->pid('fsm.sup');
        $stack->wait_worker('fsm');
    });

subtest 'key' => sub {
    my $r = run([build_dir . '/aegisctl', 'key', 'new', 'ctl1', 'default', 'ctl-user', 'case:read', '--not-after', '2099-01-01T00:00:00Z']);
    is($r->{rc}, 0, 'key new makes one') or diag($r->{err});
    like($r->{out}, qr/\Aaegis_ctl1_[\w-]{43}\n\z/, 'the token is all of stdout');
    my $line = $r->{err};
    is($line, Aegis::Stack::key_line($r->{out} =~ s/\n//r, 'default', 'ctl-user', 'case:read', 'not_after=2099-01-01T00:00:00Z') . "\n", 'its line is all of stderr');
    my $h = run([build_dir . '/aegisctl', 'key', 'hash', 'default', 'ctl-user', 'case:read', '--not-after', '2099-01-01T00:00:00Z'], input => $r->{out});
    is($h->{out}, $line, 'key hash gives the same line for it');
    is(run([build_dir . '/aegisctl', 'key', 'hash', 'default', 'x', '*'], input => "plain\n")->{out}, Aegis::Stack::key_line('plain', 'default', 'x', '*') . "\n", 'and one for a token without an id');
    isnt(run([build_dir . '/aegisctl', 'key', 'new', 'ctl1', 'default', 'ctl-user', 'case:read'])->{out}, $r->{out}, 'each is another');
    for my $bad (['key', 'new', 'A B', 't', 'p', '*'], ['key', 'new', 'ctl1', 't', 'p', 'case:raed'], ['key', 'new', 'ctl1', 't', 'p', '*', '--not-after', 'soon']) {
        my $x = run([build_dir . '/aegisctl', @$bad]);
        is($x->{rc}, 2, "@$bad[1 .. $#$bad] is refused");
        is($x->{out}, '', 'and no token is given out');
    }
};

$stack->finish(allow => [qr/nats/i]);
done_testing;
