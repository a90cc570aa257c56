# 71ha.t: deploy/ha on hosts that are network namespaces, and what happens to it:
# a gateway is killed, a host loses its power, a network is cut, the database's
# primary dies, hangs and is cut off, nats-servers go. Clients write all the time.
# Each acknowledged write is there afterwards and happened once, no part of ours
# is restarted for somebody else's failure, every case that the workers drive is
# closed, and the invariants hold. Only `make ha-test` runs it: minutes.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Test;
use Aegis::Ha;
use Aegis::HaLoad;
use Aegis::Invariants;

plan skip_all => 'minutes: make ha-test' unless $ENV{AEGIS_T_HA};
if (my $why = Aegis::Ha->available) { plan skip_all => $why }

my $failovers = $ENV{AEGIS_HA_FAILOVERS} // 3;
my $keys = $ENV{AEGIS_HA_KEYS} // 5000;
my $ha = Aegis::Ha->new;
my ($primary, $standby) = qw(db-a db-b);
my (@load, @figure);

# Load, and code in the middle of it, from which [what, seconds that the service
# itself needed] come back; then load goes on until writes are answered again.
sub under_load ($name, $code, %opt) {
    my $load = Aegis::HaLoad->start(http => $ha->http, tag => $name, clients => $opt{clients} // 6);
    push @load, $load;
    my $n = $load->writes;
    wait_for('the load to run', 30, sub { $load->writes > $n + 100 });
    my $t = time;
    my $recovery = $code->($load) // 0;
    $n = $load->writes;
    ok(wait_for("$name: writes to go on", 60, sub { $load->writes > $n + 150 }), "$name: writes go on");
    $load->stop;
    my $gap = $load->gap($t, time);
    push @figure, sprintf '%s: %d requests, longest gap %.2f s, recovery %.2f s, %d attempts not answered, %d told 503 or 504', $name,
        $load->count(sub { 1 }), $gap, $recovery, $load->count(sub { !$_->{status} }), $load->count(sub { $_->{status} =~ /^50[34]/ });
    note $figure[-1];
    my @bad = $load->bad;
    is(scalar @bad, 0, "$name: every request ends as it should") or diag(json_encode($_)) for @bad[0 .. ($#bad < 2 ? $#bad : 2)];
    # a figure, and on a machine that does other things too it says little
    cmp_ok($gap, '<=', $recovery + $opt{gap}, sprintf '%s: the longest gap is %.2f s, of them %.2f s recovery', $name, $gap, $recovery)
        if $opt{gap} && $ENV{AEGIS_HA_TIMED};
    return $load;
}

# Each worker process of that nginx has its connections. (/readyz is one's answer.)
sub connected ($host) {
    my $m = $ha->in($host, 'curl', '-s', '--max-time', '4', 'http://127.0.0.1:8080/metrics');
    return $m =~ /^aegis_db_connections\{state="idle"\} [1-9]/m && $m !~ /^aegis_db_connections\{state="(?:down|connecting|preparing)"\} [1-9]/m;
}

sub pids () { return { map { $_ => $ha->{proc}{$_}{pid} } grep { /^(nginx|workers)/ } keys %{ $ha->{proc} } } }

subtest 'the address moves' => sub {
    ok(wait_for('one gateway to hold the address', 20, sub { $ha->vip == 1 }), 'one gateway holds it');
    my ($holder) = $ha->vip;
    my ($other) = grep { $_ ne $holder } qw(app-a app-b);
    under_load('gateway-killed', sub ($load) {
        my $t = time;
        $ha->kill9("nginx-$holder");
        ok(wait_for('the address to move', 20, sub { "@{[ $ha->vip ]}" eq $other }), 'kill -9 of its nginx: the other gateway holds it');
        my $took = time - $t;
        $ha->start_gateway($holder);
        return $took;
    });
    is("@{[ $ha->vip ]}", $other, 'the one that came back takes nothing away');
    under_load('host-lost', sub ($load) {
        my $t = time;
        $ha->power_off($other);
        ok(wait_for('the address to move', 20, sub { $ha->holds_vip($holder) }), 'its host loses its power, workers and all: the first one holds it');
        return time - $t;
    });
    $ha->plug($other);
    $ha->start_gateway($other);
    $ha->start_workers($other);
    $ha->start_keepalived($other);
    ok(wait_for('the host to be ready', 30, sub { $ha->http($Aegis::Ha::IP{$other})->get('/readyz')->status == 200 && connected($other) }), 'the host is back');
};

subtest 'the gateways do not hear each other' => sub {
    under_load('split', sub ($load) {
        $ha->cut('app-a', 'app-b');
        ok(wait_for('both to hold the address', 20, sub { $ha->vip == 2 }), 'both hold the address');
        my $n = $load->writes;
        wait_for('writes through either', 30, sub { $load->writes > $n + 200 });
        $ha->heal('app-a', 'app-b');
        ok(wait_for('one to hold it', 20, sub { $ha->vip == 1 }), 'one gives it up when they hear each other again');
        return 0;
    });
};

subtest 'a gateway is cut off from the databases' => sub {
    my ($holder) = $ha->vip;
    my $t;
    under_load('no-database', sub ($load) {
        $t = time;
        $ha->cut($holder, $_) for qw(db-a db-b);
        ok(wait_for('its address to move', 30, sub { !$ha->holds_vip($holder) && $ha->vip == 1 }), sprintf 'the address moves: %.1f s', time - $t);
        my $took = time - $t;
        is($ha->in($holder, 'curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', 'http://127.0.0.1:8088/readyz'), '503', 'it says that it is not ready');
        is($ha->in($holder, 'curl', '-s', '-o', '/dev/null', '-w', '%{http_code}', 'http://127.0.0.1:8080/livez'), '200', 'and lives');
        return $took;
    });
    $ha->heal($holder, $_) for qw(db-a db-b);
    ok(wait_for('it to be ready', 30, sub { $ha->http($Aegis::Ha::IP{$holder})->get('/readyz')->status == 200 && connected($holder) }), 'it is ready again by itself');
};

subtest "the same key on both gateways, $keys times" => sub {
    my @http = map { $ha->http($Aegis::Ha::IP{ $_ % 2 ? 'app-a' : 'app-b' }, plain => 1) } 1 .. 16;
    my @s = map { $_->open_socket } @http;
    my ($answers, %odd, %n) = (0);
    for my $i (1 .. $keys) {
        my $tag = "race-$i";
        for my $c (0 .. 15) {
            my $bytes = $http[$c]->render('POST', '/case/create', json => { title => $tag, mode => 'manual', tags => ['race'] }, headers => ['Idempotency-Key', $tag]);
            syswrite($s[$c], $bytes) == length $bytes or die "short write";
        }
        my (%in, %done);
        my $sel = IO::Select->new(@s);
        while (keys %done < 16) {
            for my $fh ($sel->can_read(20)) {
                my ($c) = grep { $s[$_] == $fh } 0 .. 15;
                sysread $fh, $in{$c}, 65536, length($in{$c} // '') or die "closed";
                my $r = Aegis::Http::_parse(\$in{$c}, 0, 0) or next;
                $done{$c} = 1;
                my $what = $r->status == 201 ? (($r->header('idempotent-replayed') // $r->header('idempotency-replayed') // '') eq 'true' ? 'replayed' : 'created') : $r->problem;
                $n{$what}++;
                $odd{$tag}++ if $what !~ /^(created|replayed|idempotency-key-in-flight|busy)$/;
                $answers++;
            }
        }
    }
    is_deeply(\%odd, {}, "$answers answers, each a creation, its replay or \"in flight\": " . join ', ', map { "$n{$_} $_" } sort keys %n);
    my $pg = $ha->pg($primary);
    is($pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE tags @> '["race"]'}), $keys, "$keys cases");
    is($pg->one(q{SELECT count(DISTINCT title) FROM aegis.ops_case WHERE tags @> '["race"]'}), $keys, 'one for each key');
    is($n{created}, $keys, 'one client of each sixteen was told that it made it');
    push @figure, "same key: $keys keys x 16 clients on two gateways, $answers answers: " . join ', ', map { "$n{$_} $_" } sort keys %n;
    note $figure[-1];
};

# Who uses a server: sessions of gateways, and of workers that do something. A
# worker's idle session is left when it is needed next. A commit that waits for a
# standby that is gone has no client any more.
sub users ($db) {
    return $ha->pg($db)->one(q{SELECT count(*) FROM pg_stat_activity WHERE (usename = 'aegis_gateway' OR usename = 'aegis_worker' AND state <> 'idle')
        AND wait_event IS DISTINCT FROM 'SyncRep'});
}

# The primary goes in some way; the standby is promoted; the old one comes back.
sub failover ($name, $how, $back, %opt) {
    my $before = pids;
    my ($old, $new) = ($primary, $standby);
    under_load($name, sub ($load) {
        my $t = time;
        $how->($old);
        ok($ha->promote($new), "$new is promoted") or return 0;
        my $took = time - $t;
        ($primary, $standby) = ($new, $old);
        my $n = $load->writes;
        ok(wait_for('writes', 60, sub { $load->writes > $n + 50 }), 'writes go on');
        $back->($old) if $opt{early};
        return $took;
    }, gap => 2, %opt);
    is_deeply(pids, $before, 'neither gateways nor workers were restarted');
    ok(wait_for('the workers to work', 60, sub {
        my $t = $ha->{pg}{$primary}->one(q{SELECT count(*) FROM aegis.ops_case WHERE mode = 'auto' AND status NOT IN ('CLOSED', 'PARKED')});
        return $t == 0;
    }), 'every case of the workers has come to its end');
    $back->($old) unless $opt{early};
    ok($ha->rejoin($old, $new), "$old is the synchronous standby of $new");
}

for my $i (1 .. $failovers) {
    subtest "failover $i: the primary is killed" => sub {
        failover("killed-$i", sub ($db) { $ha->kill9("postgres-$db") }, sub ($db) { });
    };
}

subtest 'failover: the primary is cut off, and still runs' => sub {
    failover('cut-off', sub ($db) { $ha->unplug($db) }, sub ($db) {
        $ha->plug($db);
        my $n = $load[-1]->writes;
        is($ha->pg($db)->one('SELECT pg_is_in_recovery()::int'), 0, 'it is heard again, and thinks that it is the primary');
        wait_for('load', 30, sub { $load[-1]->writes > $n + 100 });
        ok(wait_for('nobody to be there', 30, sub { users($db) == 0 }), 'nobody is left there but commits that were never acknowledged, and wait for its standby');
        $ha->kill9("postgres-$db");
    }, early => 1);
};

subtest 'failover: the primary hangs, and goes on later' => sub {
    my @stopped;
    failover('hung', sub ($db) {
        @stopped = map { $_->{pid} } Aegis::Stack->children($ha->{proc}{"postgres-$db"}{pid});
        push @stopped, $ha->{proc}{"postgres-$db"}{pid};
        kill 'STOP', @stopped;
    }, sub ($db) {
        kill 'CONT', @stopped;
        my $n = $load[-1]->writes;
        wait_for('load', 30, sub { $load[-1]->writes > $n + 100 });
        ok(wait_for('nobody to be there', 30, sub { users($db) == 0 }), 'it goes on, and nobody is left there');
        $ha->kill9("postgres-$db");
    }, early => 1);
};

subtest 'nats-servers' => sub {
    under_load('nats-one', sub ($load) {
        my $n = $load->writes;
        $ha->kill9('nats-1');
        wait_for('writes', 30, sub { $load->writes > $n + 200 });
        $ha->start_nats(1);
        return 0;
    });
    under_load('nats-two', sub ($load) {
        $ha->kill9("nats-$_") for 2, 3;
        my $n = $load->writes;
        ok(wait_for('writes', 30, sub { $load->writes > $n + 300 }), 'without a quorum writes go on');
        $ha->start_nats($_) for 2, 3;
        return 0;
    });
};

subtest 'in the end' => sub {
    my $pg = $ha->pg($primary);
    my $auto = q{SELECT count(*) FROM aegis.ops_case WHERE mode = 'auto'};
    # a step that may not be repeated, lost with its executor, is a person's to judge
    my %resumed;
    my $resume = sub {
        for my $c (@{ $pg->rows(q{SELECT case_id, version, reason FROM aegis.ops_case WHERE mode = 'auto' AND status = 'PARKED'}) }) {
            next if $resumed{"$c->{case_id} $c->{version}"};
            $resumed{"$c->{case_id} $c->{version}"} = $c->{reason};
            $ha->http->write('PATCH', "/case/$c->{case_id}/transition", { event => 'resume', reason => 'looked into by a person' }, key => "resume-$c->{case_id}-$c->{version}");
        }
    };
    ok(wait_for('the workers to finish', 120, sub { $resume->(); $pg->one("$auto AND status <> 'CLOSED'") == 0 }), $pg->one($auto) . ' cases were driven by the workers, each is CLOSED')
        or diag(map { json_encode($_) . "\n" } @{ $pg->rows(q{SELECT status, count(*) AS n, max(reason) AS reason FROM aegis.ops_case WHERE mode = 'auto' GROUP BY 1}) });
    is_deeply([ grep { !/unknown/i } values %resumed ], [], keys(%resumed) . ' were parked on the way for a step whose outcome was lost, and none for anything else');
    ok(wait_for('the outbox to be empty', 60, sub { $pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL') == 0 }), 'everything is published');
    my $inv = Aegis::Invariants->new($pg->connect);
    my ($acked, $lost) = (0, 0);
    for my $load (@load) {
        $load->settle($inv);
        my %acked = map { $_->{key} => 1 } grep { defined $_->{key} && $_->{status} =~ /^20[01]$/ } $load->ledger;
        $acked += keys %acked;
        my %there = map { $_->{idem_key} => 1 } @{ $pg->rows('SELECT idem_key FROM aegis.case_timeline WHERE idem_key LIKE ?', "$load->{tag}-%") };
        $lost += grep { !$there{$_} } keys %acked;
    }
    is($lost, 0, "$acked writes were acknowledged, each is there");
    $inv->bus_nats($ha->nats(1));
    cmp_ok($inv->{n}{t_bus}, '>', 0, "the streams hold $inv->{n}{t_bus} messages");
    $inv->check;
    is($pg->one('SELECT count(*) FROM aegis.dead_letter'), 0, 'no message became a dead letter');
    push @figure, "in the end: $acked acknowledged writes, $lost lost; $inv->{n}{t_bus} messages on the streams";
    my @alert = map { lines_of($_) } glob "$ha->{dir}/log/nginx-*error.log";
    is_deeply(\@alert, [], 'no nginx has an alert in its log');
};

sub lines_of ($file) { return grep { /\[(alert|emerg)\]/ && !/exited on signal 9/ } split /\n/, slurp($file) }

diag "$_" for @figure;
done_testing;
