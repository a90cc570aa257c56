# Aegis::Faults::Around: faults of what is around the processes: Kafka's refusals and
# fatal producer errors, clocks that jump, files, room for logs and shared memory
# that run out.
package Aegis::Faults::Around;

use v5.36;
use Digest::SHA qw(sha256_hex);
use Time::HiRes qw(time);
use Aegis::Faults;
use Aegis::Faults::Workers;
use Aegis::Kafka;
use Aegis::Nginx;
use Aegis::Test;

# Cases of workers, until all of them are CLOSED.
sub walk ($f, $n, $what) {
    my $tag = "around-$f->{mark}";
    Aegis::Faults::Workers::auto($f, 2, tag => $tag) for 1 .. $n;
    return $f->comes("$what: cases to be CLOSED", 90, sub {
        !$f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status <> 'CLOSED' AND tags @> jsonb_build_array(?::text)}, $tag) });
}

# An installation with evt.* over librdkafka's mock cluster of three brokers. Codes
# are the protocol's: 6 another leads, 7 timed out, 45 out of order, 59 who are you.
Aegis::Faults::fault('F15', 'Kafka: refused batches, another leader, brokers away, producers that failed for good', { some => 6, full => 60 }, sub ($f, $n) {
    local $ENV{AEGIS_T_KAFKA} = 'mock';
    my $kafka = Aegis::Kafka->new(brokers => 3);
    my $k = Aegis::Faults->new(seed => $f->{seed}, env => { KAFKA_BROKERS => $kafka->brokers });
    @$k{qw(bad facts no_bus mark)} = ([], {}, 1, $f->{mark});
    my $renewed = sub { my $l = slurp($k->run_dir . '/log/relay.log'); scalar(() = $l =~ /kafka-producer-renewed/g) };
    walk($k, 2, 'before');
    my @down;
    for my $i (1 .. $n) {
        my $how = $ENV{HOW} || ('fatal', 'errors 3 45', 'errors 2 59', 'lead', 'down', 'errors 3 7', 'errors 3 6')[ ($i - 1) % 7 ];
        my $fired = $k->fp->fired('kafka.fatal');
        if ($how eq 'fatal') { $k->fp->arm('kafka.fatal', ('error', 'kill', 'stall')[ $k->rand(3) ], who => 'relay', ms => 1500) }
        elsif ($how eq 'lead') { $kafka->say('lead ' . (1 + $k->rand(3))) }
        elsif ($how eq 'down') { push @down, 1 + $k->rand(3); $kafka->say("down $down[-1]") }
        else { $kafka->say($how) }
        $k->{facts}{"times $how"}++;
        walk($k, 3, $how) unless $how eq 'down';
        if ($how eq 'down') {
            Aegis::Faults::Workers::auto($k, 2) for 1 .. 3;
            $k->under_load(sub { state $until = time + 3; time > $until }, clients => 2);
            $kafka->say("up $_") for splice @down;
            walk($k, 1, 'a broker that is back');
        }
        $k->must($k->fp->fired('kafka.fatal') > $fired, 'the producer was reached') if $how eq 'fatal';
        $k->fp->disarm('kafka.fatal');
    }
    $k->say('producers made anew' => $renewed->());
    $k->settle;
    my $text = $kafka->dump;
    $k->{inv}->bus_kafka($text);
    my ($all, $once) = $k->{inv}{dbh}->selectrow_array('SELECT count(*), count(DISTINCT msg_id) FROM t_bus');
    $k->say('events on Kafka' => $all);
    $k->say('of them again' => $all - $once);
    my $lost = $k->{inv}{dbh}->selectrow_array(q{SELECT count(*) FROM aegis.outbox o WHERE o.subject LIKE 'evt.%' AND NOT EXISTS (SELECT FROM t_bus b WHERE b.msg_id = o.msg_id)});
    $k->must(!$lost, "$lost events are not on Kafka");
    $k->stack->down;
    $f->violation($_) for @{ $k->{bad} };
    $f->{facts}{$_} = $k->{facts}{$_} for keys %{ $k->{facts} };
});

# Roles and a second gateway under libfaketime, whose file says how far the clock is
# off; CLOCK_MONOTONIC goes on as it is, as it does when somebody sets a clock.
sub faked ($f, @roles) {
    my ($lib) = grep { -e } map { "$_/libfaketimeMT.so.1" } glob '/usr/lib/*/faketime';
    return undef unless $lib;
    my $run = $f->run_dir;
    my $bin = "$run/bin/aegis-worker";
    my $real = -l $bin ? readlink $bin : "$bin.real";
    my $was = -l $bin ? undef : rename $bin, $real;
    unlink $bin unless $was;
    my %file = map { $_ => "$run/clock.$_" } @roles, 'gateway';
    my $set = sub ($who, $by) { spew("$file{$who}.new", "$by\n"); chmod 0644, "$file{$who}.new"; rename "$file{$who}.new", $file{$who} or die "$file{$who}: $!" };
    $set->($_, '+0') for keys %file;
    spew("$bin.new", "#!/bin/sh\nfor last; do :; done\n[ -e $run/clock.\$last ] && export LD_PRELOAD=$lib FAKETIME_TIMESTAMP_FILE=$run/clock.\$last FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1\n"
        . "exec $real \"\$@\"\n");
    chmod 0755, "$bin.new";
    rename "$bin.new", $bin or die "$bin: $!";
    my $again = sub { for my $r (@roles) { $f->stack->wait_worker($r, $f->stack->kill_worker($r, 'TERM')) } };
    $again->();
    push @{ $f->{undo} }, sub {
        unlink $bin;
        $was ? rename($real, $bin) : symlink($real, $bin);
        $again->();
    };
    return ($lib, $set);
}

Aegis::Faults::fault('F18', 'clocks of roles jump by an hour and a day, forward and back (libfaketime)', { some => 8, full => 100 }, sub ($f, $n) {
    my @roles = qw(relay fsm analyst planner gate exec verify);
    my ($lib, $set) = faked($f, @roles);
    return $f->violation('libfaketime is not installed') unless $lib;
    my ($i, $next, %at, %seen) = (0, 0);
    my $off = sub ($role) {
        my $log = slurp($f->run_dir . "/log/$role.log");
        return $log =~ /.*"ts":"([0-9-]{10})/s ? $1 : '';
    };
    $f->under_load(sub {
        return 0 if time < $next;
        return 1 if $i >= $n;
        my $role = $roles[ $f->rand(scalar @roles) ];
        my $by = ('+1h', '-1h', '+1d', '-1d', '+0')[ $f->rand(5) ];
        $set->($role, $by);
        # it notices at its next breath; a role that starts anew in between is no worse
        if ($f->rand(4) == 0) { my $pid = $f->stack->pid($role); kill 'KILL', $pid if $pid }
        $seen{$by}++;
        $i++;
        $next = time + 0.7;
        return 0;
    }, clients => 4, auto => 0.5, timeout => 60 + 3 * $n);
    walk($f, 5, 'clocks that are off');
    # did any clock move at all? what a role says has its time
    $set->($_, '+1d') for @roles;
    my $today = sprintf '%04d-%02d-%02d', (gmtime)[5] + 1900, (gmtime)[4] + 1, (gmtime)[3];
    $f->stack->wait_worker($_, $f->stack->kill_worker($_)) for @roles;
    walk($f, 5, 'a day ahead');
    for my $role (@roles) { $f->must($off->($role) gt $today, "the clock of $role did not move: it says " . $off->($role)) }
    $f->say("jumps by $_" => $seen{$_}) for sort keys %seen;
    $f->must(!$f->pg->one(q{SELECT count(*) FROM aegis.gate_request WHERE state = 'EXPIRED'}), 'nothing has expired');
});

# No file can be opened: not by nginx's workers, not by each role in turn, whose
# connections are ended so that it needs new ones.
Aegis::Faults::fault('F27-files', 'no file can be opened any more (EMFILE)', { some => 3, full => 30 }, sub ($f, $n) {
    $f->{allow} = [qr/Too many open files/];
    my $limit = sub ($pid, $soft) { run(['prlimit', "--pid=$pid", "--nofile=$soft:"]) };
    my $open = sub ($pid) { scalar(() = glob "/proc/$pid/fd/*") };
    my @roles = qw(relay fsm planner gate exec verify);
    for my $i (1 .. $n) {
        my $role = $roles[ $f->rand(scalar @roles) ];
        my @pid = ((map { $_->{pid} } $f->stack->nginx_workers), $f->stack->pid($role));
        my $was = 1024;
        my $c = $f->chaos(clients => 8, auto => 0.1);
        my ($began, $healed, $acked) = (0, 0, 0);
        $f->must($c->drive(sub {
            if (!$began && $c->n('first') > 30) {
                $limit->($_, $open->($_)) for @pid;
                $f->pg->do(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('aegis_gateway', 'aegis_worker')});
                $began = time;
            }
            if ($began && !$healed && time > $began + 3) { $limit->($_, $was) for grep { alive($_) } @pid; ($healed, $acked) = (time, $c->n('first')) }
            return $healed && $c->n('first') > $acked + 30;
        }, 120), 'writes did not come back');
        $f->say('served again after s', sprintf '%.1f', time - $healed) if $healed;
        Aegis::Faults::Database::healed($f, "files of $role");
    }
});

# The access log's disk is full: requests are answered all the same.
Aegis::Faults::fault('F27-log', 'the disk of the logs is full', { some => 1, full => 5 }, sub ($f, $n) {
    return $f->violation('needs root, for a small disk') if $> != 0;
    my $dir = $f->run_dir . '/smalllog';
    mkdir $dir;
    run_ok(['mount', '-t', 'tmpfs', '-o', 'size=1m,mode=0777', 'aegis-small', $dir]);
    Aegis::Test::at_end(sub { run(['umount', '-l', $dir]) });
    push @{ $f->{undo} }, $f->stack->nginx_edit(sub ($c) { $c =~ s{\S+/log/(nginx-(?:access|error|audit)\.log)}{$dir/$1}gr });
    for (1 .. $n) {
        my $c = $f->chaos(clients => 6, auto => 0.1);
        my ($at, $before, $until);
        $c->drive(sub {
            if (!$at && $c->n('first') > 40) { $before = $c->quantile(0.5); run(['dd', 'if=/dev/zero', "of=$dir/filler", 'bs=16k']); $at = $c->n('first'); $until = time + 4 }
            return $at && time > $until;
        }, 60);
        $f->must($c->n('first') > $at + 40, 'writes go on');
        $f->must(!grep({ $c->n($_) } 500, 502, 503, 504), 'and none is refused');
        $f->say('writes while it was full' => $c->n('first') - $at);
        unlink "$dir/filler", glob "$dir/nginx-*";
        kill 'USR1', $f->stack->pid('nginx');
    }
    $_->() for splice @{ $f->{undo} };
    run(['umount', '-l', $dir]);
});

# Two gateways side by side, in turn: the zone of the one's limit_req has room for
# every key that comes, the other's for none (each new one makes it forget another);
# then tenants that aegis_quota has room for, and those that it has none for.
Aegis::Faults::fault('F27-zone', 'the shared memory of limits is full', { some => 4, full => 30 }, sub ($f, $n) {
    my $many = sub ($from, $to) { map { "zone-tenant-$_" } $from .. $to };
    my $keys = join '', map { sha256_hex($_) . " t-$_ many case:read\n" } $many->(1, 4000 + 600);
    my %gw = map {
        my ($name, $size) = @$_;
        my $g = Aegis::Nginx->new(stack => $f->stack, name => "zone-$name", http => "limit_req_zone \$http_x_rate zone=rate:$size rate=1000r/s;\n"
            . "limit_req_status 429; keepalive_requests 1000000; aegis_database \"\@DB\@ application_name=zone-$name\"; aegis_connections 1;\n"
            . "aegis_keys \@DIR\@/keys; server { listen 127.0.0.1:\@P1\@; aegis_quota 100000 per=1d;\n"
            . "limit_req zone=rate burst=1000 nodelay; location / { aegis on; } }\n");
        $g->file('keys', $keys);
        $g->start;
        wait_for("$name to answer", 20, sub { $g->http->get('/healthz')->status == 200 }) or die "$name does not answer\n";
        ($name => $g);
    } ['full', '32k'], ['roomy', '10m'];
    my $cpu = sub ($g) { my ($w) = $g->workers; return (split ' ', slurp("/proc/$w->{pid}/schedstat"))[0] / 1e3 };
    my $ask = sub ($g, $want, @q) {
        my $was = $cpu->($g);
        my @r = $g->http->crowd(\@q, connections => 8);
        my $us = ($cpu->($g) - $was) / @q;
        my $wrong = grep { $_->status != $want } @r;
        $f->must(!$wrong, "$wrong of " . @q . ' were not answered as they should be: ' . $r[0]->brief);
        return ($us, scalar grep { !$_->header('ratelimit') } @r);
    };
    my (%us, $i);
    my $keyed = sub { map { { method => 'GET', path => '/healthz', headers => ['X-Rate', sprintf 'somebody-%08d', ++$i] } } 1 .. 3000 };
    my $tenant = sub (@t) { map { { method => 'GET', path => '/case?limit=0', headers => ['Authorization', "Bearer $_"] } } @t };
    for my $k (1 .. $n) {
        for my $which ($k % 2 ? qw(full roomy) : qw(roomy full)) { push @{ $us{"limit_req $which"} }, ($ask->($gw{$which}, 200, $keyed->()))[0] }
    }
    # 600 of the same tenants each time: one gateway counts them, the other has met 4 000 others before
    $ask->($gw{full}, 400, $tenant->($many->(601, 4600)));
    my @out = grep { !$gw{full}->http->get('/case?limit=0', headers => ['Authorization', "Bearer $_"])->header('ratelimit') } $many->(1, 600);
    $f->must(@out >= 200, 'aegis_quota is not full: ' . @out . ' of 600 tenants are not counted') or return;
    for my $k (1 .. $n) {
        for my $which ($k % 2 ? qw(full roomy) : qw(roomy full)) { push @{ $us{"aegis_quota $which"} }, ($ask->($gw{$which}, 400, $tenant->((@out) x 8)))[0] }
    }
    $f->say('tenants not counted' => scalar @out);
    my %median = map { my @s = sort { $a <=> $b } @{ $us{$_} }; $_ => $s[ @s / 2 ] } keys %us;
    for my $what (qw(limit_req aegis_quota)) {
        my ($full, $roomy) = @median{"$what full", "$what roomy"};
        $f->say("$what: CPU of nginx a request with room and without, us", sprintf '%.1f %.1f (%+.1f %%)', $roomy, $full, 100 * ($full / $roomy - 1));
        $f->must($full < 1.25 * $roomy, "$what: a request takes more of a processor when the zone is full");
    }
    my ($seen) = $gw{full}->http->get('/metrics')->body =~ /^aegis_quota_uncounted_total (\d+)$/m;
    $f->must($seen && $seen >= @out, 'the metric says that requests are not counted');
    $_->stop for values %gw;
});

1;
