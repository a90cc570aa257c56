# 45metrics.t: what is measured: /metrics of the gateway and of every worker is
# Prometheus text that promtool accepts, has the three counters of the source
# document and the outbox's lag, and moves by what really happens, also over a
# reload. Labels are bounded: no case, tenant or key ever becomes one.
use v5.36;
use lib 't/lib';
use Test::More;
use List::Util qw(sum0);
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $case = Aegis::Case->create($http, tags => ['metric-tag-of-mine'], correlation_id => 'metric-corr-of-mine');
$case->wait_state('CLOSED', 40);
$stack->quiet;

subtest 'promtool accepts them' => sub {
    plan skip_all => 'promtool is not installed' unless have('promtool');
    for my $who ('gateway', $stack->roles) {
        my $text = $stack->metrics($who);
        my $r = run(['promtool', 'check', 'metrics'], input => $text);
        # 3 is only lint; the seed's own names do not follow it
        ok($r->{rc} eq '0' || $r->{rc} eq '3', "$who: it can be read") or diag($r->{err} . $r->{out});
        my @lint = grep { /\S/ && !/^(case_transition_total|conflict_total|idempotent_replay_total)\b/ } split /\n/, $r->{err} . $r->{out};
        is_deeply(\@lint, [], "$who: nothing to complain about");
        my (%type, %help, @bad);
        for (split /\n/, $text) {
            $type{$1}++ if /^# TYPE (\S+) (counter|gauge|histogram)$/;
            $help{$1}++ if /^# HELP (\S+) \S/;
            next if /^#/ || !length;
            push @bad, $_ unless /^[a-zA-Z_:][\w:]*(\{(?:\w+="(?:[^"\\]|\\.)*",?)*\})? (?:[-+]?[\d.]+(?:e[-+]?\d+)?|[-+]Inf|NaN)$/;
        }
        is_deeply(\@bad, [], "$who: every line is a sample");
        is_deeply([ grep { $_ > 1 } values %type ], [], "$who: a metric is declared once");
        is_deeply([ sort keys %help ], [ sort keys %type ], "$who: and explained");
        unlike($text, qr/\Q${\$case->id}\E|metric-tag-of-mine|metric-corr-of-mine|tenant="/, "$who: no case, tag or tenant is a label");
        for my $secret (qw(worker gateway nats token)) {
            my $s = slurp($stack->run_dir . "/secrets/$secret") =~ s/\s+\z//r;
            ok(index($text, $s) < 0, "$who: does not show the secret $secret");
        }
    }
};

subtest 'case_transition_total' => sub {
    my $gw = $stack->metric('gateway', 'case_transition_total', 'event="force_park"') // 0;
    my $c = Aegis::Case->create($http, mode => 'manual');
    $c->must('force_park', key => (my $key = new_key()));
    is($stack->metric('gateway', 'case_transition_total', 'event="force_park"'), $gw + 1, 'a request\'s transition counts on the gateway');
    $c->say('force_park', key => $key);
    is($stack->metric('gateway', 'case_transition_total', 'event="force_park"'), $gw + 1, 'its replay does not');
    $c->say('exec_done');
    is($stack->metric('gateway', 'case_transition_total', 'event="force_park"'), $gw + 1, 'nor a refusal');
    # the role counts whose transaction moved the case: after its commit, so that it may be a moment later
    my @roles = grep { !/^(relay|sensor|librarian)$/ } $stack->roles;
    my $moved = sub { return sum0 map { $stack->metric($_, 'case_transition_total') // 0 } @roles };
    my $before = $moved->();
    Aegis::Case->create($http)->wait_state('CLOSED', 40);
    ok(wait_for('six to be counted', 10, sub { $moved->() >= $before + 6 }), 'a case that runs by itself counts six on its roles');
    is($moved->(), $before + 6, 'and no more');
    my $text = join '', map { $stack->metrics($_) } @roles;
    like($text, qr/^case_transition_total\{[^}]*from="PLANNING"[^}]*to="WAIT_GATE"/m, 'with from and to');
};

subtest 'conflict_total and idempotent_replay_total' => sub {
    my $c = Aegis::Case->create($http, mode => 'manual');
    my @was = map { $stack->metric('gateway', $_) // 0 } qw(conflict_total idempotent_replay_total);
    $c->say('exec_done');
    $c->say('force_park', if_match => '"9"');
    $c->say('force_park', expected_version => 9);
    is($stack->metric('gateway', 'conflict_total'), $was[0] + 3, 'an illegal transition, a 412 and a version conflict are conflicts');
    $c->must('force_park', key => (my $key = new_key()));
    is($stack->metric('gateway', 'idempotent_replay_total') // 0, $was[1], 'a first answer is no replay');
    $c->say('force_park', key => $key) for 1 .. 4;
    is($stack->metric('gateway', 'idempotent_replay_total'), $was[1] + 4, 'four replays are four');
    is($stack->metric('gateway', 'conflict_total'), $was[0] + 3, 'and no conflicts');
};

subtest 'requests are counted by route, method and status' => sub {
    my $has = sub ($labels) { $stack->metric('gateway', 'aegis_http_requests_total', $labels) // 0 };
    my $was = $has->(qr{route="/case/\{id\}"});
    $http->get('/case/' . $case->id) for 1 .. 3;
    $http->get('/case/' . uuid) for 1 .. 2;
    cmp_ok($has->(qr{route="/case/\{id\}"}), '>=', $was + 5, 'by the route\'s template, not by the path');
    my $lines = () = $stack->metrics('gateway') =~ /^aegis_http_requests_total\{/mg;
    $http->get("/nothing/$_") for 1 .. 50;
    my $now = () = $stack->metrics('gateway') =~ /^aegis_http_requests_total\{/mg;
    cmp_ok($now - $lines, '<=', 2, 'unknown paths make no new series');
};

subtest 'the outbox\'s lag' => sub {
    ok(defined $stack->metric('relay', "aegis_outbox_$_"), "aegis_outbox_$_ is there") for qw(pending oldest_seconds);
    ok(wait_for('the lag to be zero', 15, sub { $stack->metric('relay', 'aegis_outbox_pending') == 0 }), 'at rest nothing is pending');
    my $nats = slurp($stack->run_dir . '/pid/nats.pid') =~ s/\s+//gr;
    kill 'STOP', $nats;
    my @c = map { Aegis::Case->create($http, mode => 'manual') } 1 .. 25;
    ok(wait_for('the lag to show', 30, sub { ($stack->metric('relay', 'aegis_outbox_pending') // 0) >= 20 }), 'while the broker sleeps it grows');
    ok(wait_for('its age to show', 30, sub { ($stack->metric('relay', 'aegis_outbox_oldest_seconds') // 0) > 1 }), 'and so does its age');
    is((grep { $_->say('force_park')->status != 200 } @c), 0, 'the gateway does not mind');
    my $lag = run([build_dir . '/aegisctl', 'outbox', 'lag', '--max-age', '1', '-d', $stack->e('DATABASE_URL')], env => {san_env});
    is($lag->{rc}, 1, 'aegisctl outbox lag --max-age says so too') or diag($lag->{out} . $lag->{err});
    kill 'CONT', $nats;
    ok(wait_for('the lag to go', 60, sub { $stack->metric('relay', 'aegis_outbox_pending') == 0 }), 'when it wakes the lag goes to zero');
    ok($stack->quiet(60), 'and everything is consumed');
    my %there = map { $_->{headers} =~ /^Nats-Msg-Id: (\S+?)\r?$/m ? ($1 => 1) : () } map { $stack->nats->messages($_) } qw(AEGIS_FACT AEGIS_CASE);
    is((grep { !$there{"$_:1:created"} || !$there{"$_:2:transition"} } map { $_->id } @c), 0, 'what is marked as published is in the streams');
};

subtest 'counters outlive a reload' => sub {
    my $was = $stack->metric('gateway', 'case_transition_total');
    $stack->nginx_reload;
    cmp_ok($stack->metric('gateway', 'case_transition_total'), '>=', $was, 'the shared zone is kept');
};

subtest 'every alert asks for a metric that is there' => sub {
    my ($rules) = grep { -f } glob root . '/deploy/prometheus/*alert*.y*ml';
    plan skip_all => 'there are no alerts' unless $rules;
    my $all = join "\n", map { $stack->metrics($_) } 'gateway', $stack->roles;
    my %known = map { $_ => 1 } $all =~ /^# TYPE (\S+)/mg;
    my %asked;
    for my $expr (slurp($rules) =~ /^\s*expr:\s*(?:\|\s*\n((?:\s{8,}.*\n)+)|(.*))$/mg) {
        $asked{ $_ =~ s/_(?:bucket|count|sum)$//r } = 1 for ($expr // '') =~ /\b((?:aegis|case|conflict|idempotent)_\w+)\b/g;
    }
    cmp_ok(scalar keys %asked, '>', 0, 'the alerts look at something');
    is_deeply([ grep { !$known{$_} } sort keys %asked ], [], 'which exists');
};

subtest 'every panel of the dashboard asks for metrics that are there' => sub {
    my $d = json_decode(slurp(root . '/deploy/grafana/aegis.json'));
    my $all = join "\n", map { $stack->metrics($_) } 'gateway', $stack->roles;
    my %live = map { $_ => 1 } $all =~ /^# TYPE (\S+)/mg;
    # what never happened here has no series: then a program must at least have its name
    my $code = join '', map { slurp(root . "/$_") } files_of(qr{^(workers|ngx_aegis_module)/.*\.c$});
    my (%asked, %ids);
    for my $p (@{ $d->{panels} }) {
        ok(!$ids{ $p->{id} }++ && @{ $p->{targets} } && $p->{title}, "$p->{title}: has an id and asks for something");
        ok(!(grep { $_->{gridPos}{x} == $p->{gridPos}{x} && $_->{gridPos}{y} == $p->{gridPos}{y} && $_->{id} != $p->{id} } @{ $d->{panels} }),
            "$p->{title}: has a place of its own");
        $asked{ s/_bucket$//r } = 1 for map { $_->{expr} =~ /\b((?:aegis|case)_\w+)\b/g } @{ $p->{targets} };
    }
    my @dead = grep { !$live{$_} && $code !~ /"\Q$_\E"/ } sort keys %asked;
    is_deeply(\@dead, [], 'every metric exists');
    my @seen = grep { $live{$_} } keys %asked;
    cmp_ok(scalar @seen, '>', @{[ keys %asked ]} / 2, 'most of them were exported: ' . @seen . ' of ' . keys %asked);
    if (have('promtool')) {
        my $n = 0;
        my $rules = join '', map { '  - record: x:' . $n++ . "\n    expr: " . json_encode($_->{expr}) . "\n" } map { @{ $_->{targets} } } @{ $d->{panels} };
        my $r = run(['promtool', 'check', 'rules', spew(scratch() . '/dash.yaml', "groups:\n- name: d\n  rules:\n$rules")]);
        is($r->{rc}, 0, "promtool reads all $n expressions") or diag($r->{out} . $r->{err});
    }
};

$stack->finish(allow => [qr/nats/i]);
done_testing;
