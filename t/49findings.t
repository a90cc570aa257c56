# 49findings.t: the analyst by itself: rows of metric_1m and what senders say become
# findings, findings become one case each group, and each says why. A burst is one
# case, so are two at the same moment; a closed case is not opened again; what is
# killed begins again where it was.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes ();
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $pg = $stack->pg;
my $http = $stack->http;

# Minutes of a metric up to $ago minutes before now.
sub minutes ($resource, $metric, $from, $ago, $expr) {
    $pg->do(qq{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
        SELECT 'default', ?, ?, date_trunc('minute', now()) - make_interval(mins => n), 60, $expr, $expr, $expr
          FROM generate_series(?::int, ?::int) n ON CONFLICT DO NOTHING}, $resource, $metric, $ago, $from);
    # history that is handed in later is read when the mark is put back; no series is read twice
    $pg->do(q{UPDATE aegis.analyst_mark SET mark = '-infinity' WHERE source = 'metric'}) if $ago <= 1;
}

sub findings ($resource) {
    return $pg->rows(q{SELECT * FROM aegis.finding WHERE resource = ? ORDER BY at, finding_id}, $resource);
}

# What the analyst would commit, said by hand.
sub finding (%f) {
    my $id = uuid();
    return { tenant => 'default', finding_id => $id, fingerprint => $f{fingerprint} // "f-$id", source => 'metric', kind => 'zscore',
        severity => 'error', resource => '', metric => 'm', score => 9, at => time, title => "finding $id", summary => 'said by a test',
        labels => { resource => $f{resource} // '', service => 'x' }, links => [{ ref => 'metric_1m:a', note => 'n' }], detail => {}, %f };
}

sub put ($dbh, @f) {
    $dbh->begin_work;
    $dbh->do('SELECT aegis.act_for_all()');
    my ($n) = $dbh->selectrow_array('SELECT aegis.findings_put(?::json, 1800, 200)', undef, json_encode(\@f));
    $dbh->commit;
    return json_decode($n);
}

my $worker = $stack->pg_as('worker');

subtest 'errors rise, and a case is there' => sub {
    my $res = 'urn:k8s:svc:shop/' . new_key('pay');
    minutes($res, 'error_rate', 120, 4, '0.01 + 0.004 * sin(n * 1.7)');
    minutes($res, 'error_rate', 3, 1, '0.5');
    my $f;
    ok(wait_for('a finding', 60, sub { $f = findings($res)->[0] }), 'a finding is there') or return;
    is($f->{decision}, 'opened', "it opened a case: $f->{reason}");
    is($f->{rule}, 'first', 'by the rule of the first one');
    is($pg->one(q{SELECT ?::timestamptz - (date_trunc('minute', now()) - interval '3 minutes') <= interval '2 minutes'}, $f->{at}), 1,
        'within two minutes of data time');
    my $c;
    ok(wait_for('the case', 30, sub { my $r = $http->get("/case/$f->{case_id}"); $c = $r->json if $r->status == 200 }),
        'under the id that the finding names') or return;
    is($c->{labels}{resource}, $res, 'its labels say what it is about');
    is($c->{labels}{metric}, 'error_rate', 'and by which metric');
    is($c->{title}, $f->{title}, 'its title is the finding');
    my $rows = $pg->rows('SELECT * FROM aegis.evidence_link WHERE case_id = ? AND event_id = ?', $f->{case_id}, $f->{finding_id});
    like($rows->[0]{ref} // '', qr{^metric_1m:\Q$res\E/error_rate\@}, 'the evidence leads to the rows');
    is($pg->one('SELECT severity FROM aegis.event_envelope WHERE event_id = ?', $f->{finding_id}), $f->{severity}, 'with an envelope');
    is($pg->one('SELECT count(*) FROM aegis.finding_group WHERE case_id = ?', $f->{case_id}), 1, 'one group');
};

# From rows to a closed case; nothing is typed between.
subtest 'errors rise, the repair runs, the case is closed' => sub {
    my $name = new_key('loop');
    my $res = "urn:k8s:svc:shop/$name";
    my $undo = $stack->conf_edit('detectors.yaml', sub ($text) {
        return $text . qq{  - {name: $name, resource: "$res", labels: {env: staging, window_s: "1"}}\n} }, 'analyst');
    my $n = () = slurp($stack->run_dir . '/conf/detectors.yaml') =~ /^ +- \{?name:/mg;
    ok(wait_for('the rule to be in force', 30, sub { $stack->metric('analyst', 'aegis_analyst_rules') == $n }), 'a rule is in force');
    minutes($res, 'error_rate', 120, 4, '0.01 + 0.004 * sin(n * 1.7)');
    minutes($res, 'error_rate', 3, 1, '0.5');
    my $f;
    ok(wait_for('a finding', 60, sub { $f = findings($res)->[0] }), 'a finding is there') or return;
    $stack->metrics_ahead($res, 'error_rate', 0.01, 60);
    my $case = bless { http => $http, id => $f->{case_id} }, 'Aegis::Case';
    ok(wait_for('the case', 30, sub { $http->get("/case/$f->{case_id}")->status == 200 }), 'opened a case') or return;
    my $end = $case->wait_state(['CLOSED', 'PARKED'], 90);
    is($end && $end->{status}, 'CLOSED', 'which the verifier closed') or diag(json_encode($end // {}));
    is(join(' ', map { $_->{event} } grep { $_->{kind} ne 'note' } $case->timeline),
        'create start_analysis analysis_done plan_ready gate_approved exec_done verify_pass', 'through every module');
    is($pg->one(q{SELECT count(*) FROM aegis.exec_run WHERE case_id = ? AND state = 'DONE'}, $case->id), 1, 'the repair ran');
    is($end->{labels}{threshold}, '0.05', 'and was verified by what clears the limit') if $f->{kind} eq 'threshold';
    is($http->get("/finding/$f->{finding_id}")->json->{case_status}, 'CLOSED', 'explain shows how it ended');
    my $r = run([build_dir . '/aegisctl', 'finding', 'explain', $f->{finding_id}, '--env-file', $stack->run_dir . '/aegis.env']);
    like($r->{out}, qr/\bopened\b.*\bfirst\b.*nothing like it/s, 'aegisctl says why it opened one') or diag($r->{err});
    $undo->();
    kill 'HUP', $stack->pid('analyst');
};

subtest 'old data teaches, and opens nothing' => sub {
    my $res = 'urn:k8s:svc:shop/' . new_key('old');
    my $f = finding(resource => $res, opens => \0, why => 'it is old');
    is_deeply(put($worker, $f), { opened => 0, joined => 0, held => 1 }, 'it is held');
    my $row = findings($res)->[0];
    is("$row->{rule}: $row->{reason}", 'opens-nothing: it is old', 'and says why');
    is($row->{case_id}, undef, 'there is no case');
};

subtest 'a burst is one case' => sub {
    my $res = 'urn:k8s:svc:shop/' . new_key('burst');
    my @again;
    my @f = map { finding(resource => $res, fingerprint => "$res-" . $_ % 500, at => time - $_ % 600) } 1 .. 10_000;
    my %n;
    my $size = $ENV{FINDINGS} // 1000;     # AEGIS_ANALYST_PLACED
    $worker->do(q{SET statement_timeout = '10s'});
    while (my @part = splice @f, 0, $size) {
        my $began = Time::HiRes::time();
        my $n = put($worker, @part);
        diag(sprintf '%d findings in a statement: %.2f s', scalar @part, Time::HiRes::time() - $began) if $ENV{FINDINGS};
        $n{$_} += $n->{$_} for keys %$n;
        @again = @part;
    }
    is_deeply(\%n, { opened => 1, joined => 9999, held => 0 }, '10000 findings, one case');
    is($pg->one('SELECT count(DISTINCT case_id) FROM aegis.finding WHERE resource = ?', $res), 1, 'they name the same one');
    my $case = findings($res)->[0]{case_id};
    is($pg->one('SELECT count(*) FROM aegis.event_envelope WHERE case_id = ? AND for_version = 0', $case), 200, 'which keeps 200 as evidence');
    is_deeply(put($worker, @again), { opened => 0, joined => 0, held => 0 }, 'the same again are nothing new');
};

# A thousand series that go up and down around a fixed limit in six minutes.
# What one pass finds of them is more than one statement places.
subtest 'what one pass finds is placed by a thousand' => sub {
    my $res = 'urn:k8s:svc:shop/' . new_key('burst');
    my $undo = $stack->conf_edit('detectors.yaml', sub ($text) {
        return $text . qq{  - {name: "$res", resource: "$res", above: 50, above_clear: 40, clear_samples: 1}\n} }, 'analyst');
    $pg->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
        SELECT 'default', ?, 'm' || s, date_trunc('minute', now()) - make_interval(mins => n), 60, v, v, v
          FROM generate_series(1, 1000) s, generate_series(3, 8) n, LATERAL (SELECT 100.0 * (n % 2) AS v) x}, $res);
    $pg->do(q{UPDATE aegis.analyst_mark SET mark = '-infinity' WHERE source = 'metric'});
    my $found = sub { $pg->one('SELECT count(*) FROM aegis.finding WHERE resource = ?', $res) };
    ok(wait_for('three thousand findings', 120, sub { $found->() == 3000 }), 'each time is found') or diag($found->());
    my %rule = map { ("$_->{decision} $_->{rule}" => $_->{n}) } @{ $pg->rows('SELECT decision, rule, count(*) AS n FROM aegis.finding WHERE resource = ? GROUP BY 1, 2', $res) };
    is_deeply([ @rule{'opened first', 'joined same-resource', 'joined same-fingerprint'} ], [1, 999, 2000], '3000 findings, one case') or diag(explain(\%rule));
    is($pg->one('SELECT count(DISTINCT case_id) FROM aegis.finding WHERE resource = ?', $res), 1, 'they name the same one');
    # a statement's rows have its transaction
    my $placed = $pg->dbh->selectcol_arrayref('SELECT count(*) FROM aegis.finding WHERE resource = ? GROUP BY xmin::text ORDER BY 1 DESC', undef, $res);
    is($placed->[0], 1000, 'no statement placed more than a thousand');     # AEGIS_ANALYST_PLACED
    cmp_ok(scalar(grep { $_ == 1000 } @$placed), '>=', 2, 'and those of one pass went on after that');
    my $case = findings($res)->[0]{case_id};
    is($pg->one('SELECT count(*) FROM aegis.event_envelope WHERE case_id = ? AND for_version = 0', $case), 200, 'which keeps 200 as evidence');
    is($pg->one('SELECT findings FROM aegis.finding_group WHERE case_id = ?', $case), 3000, 'and counts them all');
    $undo->();
};

subtest 'neighbours are one case, strangers are not' => sub {
    my @res = map { 'urn:k8s:svc:shop/' . new_key($_) } qw(a b c);
    $pg->do(q{INSERT INTO aegis.service_call_5m (tenant, caller, callee, bucket, calls, rps, err_rate)
        VALUES ('default', ?, ?, date_trunc('hour', now()), 10, 1, 0), ('default', ?, ?, now() - interval '20 minutes', 10, 1, 0)}, @res[0, 1], @res[0, 1]);
    put($worker, finding(resource => $res[1]));
    put($worker, finding(resource => $res[0]), finding(resource => $res[2]), finding(resource => "$res[0]>$res[1]"));
    my ($a, $b, $c) = map { findings($_)->[0] } @res;
    is($a->{case_id}, $b->{case_id}, 'who calls it is in its case');
    is($a->{rule}, 'neighbour', "by the rule of neighbours: $a->{reason}");
    isnt($c->{case_id}, $a->{case_id}, 'who does not is in its own');
    is(findings("$res[0]>$res[1]")->[0]{case_id}, $a->{case_id}, 'a call is in the case of its ends');
    put($worker, finding(resource => $res[2], at => time + 4000));
    is(findings($res[2])->[1]{rule}, 'first', 'too far away in time is another case');
};

subtest 'two at the same moment are one case' => sub {
    for my $n (1 .. 10) {
        my $res = 'urn:k8s:svc:shop/' . new_key('twin');
        my @pid = map {
            my $pid = fork // die "fork: $!";
            if (!$pid) {
                my $dbh = $stack->pg_as('worker');
                my $got = eval { put($dbh, map { finding(resource => $res) } 1 .. 5) };
                require POSIX;
                POSIX::_exit($got ? 0 : 1);
            }
            $pid
        } 1 .. 2;
        my $bad = 0;
        for (@pid) { waitpid $_, 0; $bad ||= $? }
        is($bad, 0, 'both were placed') if $bad;
        my $cases = $pg->one('SELECT count(DISTINCT case_id) FROM aegis.finding WHERE resource = ?', $res);
        is($cases, 1, "round $n: one case");
    }
};

subtest 'a closed case is not opened again: a new episode is' => sub {
    my $res = 'urn:k8s:svc:shop/' . new_key('again');
    put($worker, finding(resource => $res, fingerprint => "print-$res"));
    my $f = findings($res)->[0];
    ok(wait_for('the case', 30, sub { $pg->one('SELECT 1 FROM aegis.ops_case WHERE case_id = ?', $f->{case_id}) }), 'the case is there') or return;
    # as the verifier would have it
    # its verification may wait for minutes that are not over yet, and the gate may still approve it: a person parks it
    my $case = bless { http => $stack->http, id => $f->{case_id} }, 'Aegis::Case';
    ok(wait_for('it to rest', 60, sub {
        my $status = $pg->one('SELECT status FROM aegis.ops_case WHERE case_id = ?', $f->{case_id});
        $case->say('force_park') if $status =~ /^(?:VERIFYING|WAIT_GATE)$/;
        return $status =~ /^(?:CLOSED|PARKED)$/;
    }), 'it rests');
    my $was = $pg->one('SELECT status FROM aegis.ops_case WHERE case_id = ?', $f->{case_id});
    $pg->do(q{UPDATE aegis.ops_case SET status = 'CLOSED', closed = true, updated_at = now() WHERE case_id = ?}, $f->{case_id});
    put($worker, finding(resource => $res, fingerprint => "print-$res", at => time - 600));
    put($worker, finding(resource => $res, fingerprint => "print-$res", at => time + 60));
    my ($late, $first, $new) = @{ findings($res) };
    is("$late->{decision} $late->{rule}", 'held before-the-close', "what was measured before: $late->{reason}");
    is($late->{case_id}, $f->{case_id}, 'it names the closed case');
    is("$new->{decision} $new->{rule} $new->{episode}", 'opened new-episode 2', "what was measured after: $new->{reason}");
    isnt($new->{case_id}, $f->{case_id}, 'a case of its own');
    # as its timeline has it, for the invariants
    $pg->do('UPDATE aegis.ops_case SET status = ?, closed = ? WHERE case_id = ?', $was, $was eq 'CLOSED' ? 1 : 0, $f->{case_id});
};

subtest 'what senders say goes the same way' => sub {
    my $res = 'urn:k8s:svc:shop/' . new_key('alert');
    my $say = sub ($state, $n) {
        $pg->do(q{INSERT INTO aegis.signal_event (tenant, source, dedupe, state, fingerprint, severity, kind, resource, title, summary, labels, starts_at)
            VALUES ('default', 'alertmanager', ?, ?, ?, 'critical', 'HighErrors', ?, 'HighErrors on it', 'too many', '{"env":"staging","service":"cart"}', now())},
            "$res-$n", $state, $res, $res);
    };
    $say->('firing', 1);
    my $f;
    ok(wait_for('the alert to be placed', 30, sub { $f = findings($res)->[0] }), 'the alert is a finding') or return;
    is("$f->{decision} $f->{kind} $f->{severity}", 'opened alert critical', 'it opened a case');
    ok(wait_for('the case', 30, sub { $pg->one('SELECT 1 FROM aegis.ops_case WHERE case_id = ?', $f->{case_id}) }), 'which is there');
    is($pg->one(q{SELECT labels ->> 'env' FROM aegis.ops_case WHERE case_id = ?}, $f->{case_id}), 'staging', 'with what the alert said');
    $say->('resolved', 2);
    ok(wait_for('the end to be placed', 30, sub { @{ findings($res) } == 2 }), 'its end is a finding too');
    is($pg->one(q{SELECT count(DISTINCT case_id) FROM aegis.finding WHERE resource = ? AND decision = 'opened'}, $res), 1, 'which opens nothing');
};

my $ask = sub { return $http->write('POST', '/analyze/run', {})->json->{run_id} };
my $done = sub ($run) { return $pg->one(q{SELECT state = 'DONE' FROM aegis.analyst_run WHERE run_id = ?}, $run) };

subtest 'a round ends though there is always one more row' => sub {
    # a row is due when it is 75 s old: from now on one every 2 ms, for a minute and a half
    my $res = 'urn:k8s:svc:shop/' . new_key('stream');
    $pg->do(q{INSERT INTO aegis.metric_1m (tenant, resource, metric, bucket, samples, avg, max, p95)
        SELECT 'default', ?, 'm', t, 60, 1, 1, 1 FROM generate_series(now() - interval '76 s', now() + interval '15 s', interval '2 ms') t}, $res);
    my $run = $ask->();
    ok(wait_for('the answer', 150, sub { $done->($run) }), 'a run that was asked for is answered');
    is($pg->one(q{SELECT r.done_at < (SELECT max(bucket) FROM aegis.metric_1m WHERE resource = ?) + interval '75 s'
        FROM aegis.analyst_run r WHERE run_id = ?}, $res, $run), 1, 'while rows become due');
    $pg->do('DELETE FROM aegis.metric_1m WHERE resource = ?', $res);
};

subtest 'a state is written where it was, whatever its names' => sub {
    my ($res, $metric) = ('urn:k8s:svc:shop/' . new_key('long') . '-x' x 75, 'm' x 60);
    my $state = sub { return $pg->row(q{SELECT (s.ctid::text::point)[0] AS page, extract(epoch FROM k.mark) AS mark FROM aegis.analyst_state s
        JOIN aegis.analyst_series k USING (tenant, source, resource, metric, series) WHERE resource = ?}, $res) };
    my ($first, $then);
    for my $minutes ([60, 30], [10, 9]) {
        minutes($res, $metric, @$minutes, '5');
        $pg->do(q{UPDATE aegis.analyst_mark SET mark = '-infinity' WHERE source = 'metric'});
        $first = $then;
        ok(wait_for('its state', 60, sub { $then = $state->(); $then && (!$first || $then->{mark} > $first->{mark}) }), 'it is kept') or return;
    }
    is($then->{page}, $first->{page}, 'on the page of the one before: two fit on one');
};

subtest 'a reload shortens a wait that has begun' => sub {
    my $every = sub ($s) { return $stack->conf_edit('aegis.yaml', sub ($t) { $t =~ s/^analyze:\n(?:  .*\n)*?\K  every_s: \d+/  every_s: $s/mr }, 'analyst') };
    # what was asked for before a reload is answered by the round that follows it; then the wait of an hour begins
    my $run = $ask->();
    my $undo = $every->(3600);
    ok(wait_for('the round of the reload', 60, sub { $done->($run) }), 'a round, and an hour until the next one');
    my $waits = $ask->();
    $every->(1);
    ok(wait_for('the next round', 60, sub { $done->($waits) }), 'the new interval ends the wait for the old one');
    my $next = $ask->();
    ok(wait_for('one more', 60, sub { $done->($next) }), 'and is in force after that');
    $undo->();
};

subtest 'killed at any moment, it begins again where it was' => sub {
    my @res = map { 'urn:k8s:svc:shop/' . new_key('kill') } 1 .. 5;
    for my $r (@res) {
        minutes($r, 'queue_length', 100, 3, '20 + 2 * sin(n * 2.3)');
        minutes($r, 'queue_length', 2, 1, '900');
        $stack->kill_worker('analyst');
        $stack->wait_worker('analyst');
    }
    for my $r (@res) {
        ok(wait_for('its finding', 60, sub { @{ findings($r) } }), 'the spike was found') or next;
        is($pg->one(q{SELECT count(*) FROM aegis.finding WHERE resource = ? AND decision = 'opened'}, $r), 1, 'and opened one case');
        is($pg->one('SELECT count(*) FROM (SELECT fingerprint, at, kind FROM aegis.finding WHERE resource = ? GROUP BY 1, 2, 3 HAVING count(*) > 1) x', $r), 0,
            'nothing was found twice');
    }
};

$stack->finish(complaints => 0);
done_testing;
