# Aegis::Faults::Database: faults of PostgreSQL and of the way to it: restarts, killed
# backends, held locks, a full disk, a standby's answers, no connection to be had, a
# server that hangs, plans that are out of date; and what stands in front: another
# nginx that sends again, slow clients.
package Aegis::Faults::Database;

use v5.36;
use List::Util qw(max sum0);
use Time::HiRes qw(time);
use Aegis::Faults;
use Aegis::Faults::Workers;
use Aegis::Test;

# Did everything come back by itself? The workers move a case, the gateway serves.
sub healed ($f, $what) {
    my $began = time;
    $f->comes("$what: the gateway to be ready", 30, sub { $f->http->get('/readyz')->status == 200 });
    my $id = eval { Aegis::Faults::Workers::auto($f, 2) };
    $f->must($id, "$what: no case can be made: $@") or return;
    $f->comes("$what: a case to walk to CLOSED", 60, sub { $f->pg->one('SELECT status FROM aegis.ops_case WHERE case_id = ?', $id) eq 'CLOSED' });
    return time - $began;
}

# Load around code, and how long no write was acknowledged.
sub gap ($f, $code, %args) {
    my ($did, $last, $gap, $until, $acked) = (0, time, 0, 0, 0);
    $f->under_load(sub {
        my $c = $f->{chaos}[-1];
        if ($c->n('first') > $acked) {
            $gap = time - $last if $did && time - $last > $gap;
            ($acked, $last) = ($c->n('first'), time);
        }
        if (!$did && $acked > 50) { $did = 1; $code->(); $until = time + ($args{after} // 3) }
        return $did && time > $until && $last > $until - 1;
    }, clients => 8, auto => 0.05, timeout => 90);
    return $gap;
}

for my $how (qw(fast immediate)) {
    Aegis::Faults::fault("F6-$how", "PostgreSQL is restarted ($how) under load", { some => 1, full => 10 }, sub ($f, $n) {
        $f->{allow} = [qr/was terminated/];
        my ($gap, $took) = (0, 0);
        for (1 .. $n) {
            $gap = max($gap, gap($f, sub {
                my $began = time;
                $f->pg_ctl('restart', '-m', $how);
                $took = max($took, time - $began);
                $f->pg->disconnect;
            }));
            healed($f, "restart $how");
        }
        $f->say('longest restart, s', sprintf '%.2f', $took);
        $f->say('longest time without an acknowledged write, s', sprintf '%.2f', $gap);
        $f->must($gap <= $took + 2, sprintf 'no write for %.1f s, restart took %.1f s', $gap, $took);
    });
}

Aegis::Faults::fault('F6-backends', 'database sessions are ended, 20 a second', { some => 40, full => 1000 }, sub ($f, $n) {
    my ($done, $next) = (0, 0);
    $f->under_load(sub {
        return $done >= $n if time < $next;
        $next = time + 0.05;
        $done += $f->pg->one(q{SELECT count(*) FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE usename IN ('aegis_gateway', 'aegis_worker') ORDER BY random() LIMIT 1) x});
        return $done >= $n;
    }, clients => 8, auto => 0.1, timeout => 60 + $n / 5);
    healed($f, 'ended sessions');
});

Aegis::Faults::fault('F9', 'a row and a table are locked by somebody else', { some => 2, full => 10 }, sub ($f, $n) {
    for (1 .. $n) {
        my $id = $f->http->write('POST', '/case/create', { title => 'locked', mode => 'manual' })->json->{case_id};
        my $lock = $f->pg->connect;
        for my $sql (['SELECT 1 FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', $id], ['LOCK TABLE aegis.ops_case IN ACCESS EXCLUSIVE MODE']) {
            $lock->begin_work;
            $lock->do(shift @$sql, undef, @$sql);
            my $began = time;
            my $key = new_key();
            my $r = $f->http->with->write('PATCH', "/case/$id/transition", { event => 'force_park' }, key => $key);
            my $took = time - $began;
            $f->must($r->status =~ /^(409|503|504)$/ && defined $r->header('retry-after'), 'a locked row: ' . $r->brief);
            $f->must($took < 8, sprintf 'it was waited for %.1f s', $took);
            $f->must($f->http->with->get('/healthz')->status == 200, 'the process answers meanwhile');
            $lock->rollback;
        }
    }
    healed($f, 'locks');
});

# Each statement of ours against all others' in SERIALIZABLE; then somebody who holds the
# outbox and asks for the cases of those that wait for it, again and again: who waits a
# fifth of a second is the one that PostgreSQL gives up, and that is one of ours.
Aegis::Faults::fault('F10', 'serialization failures (40001) and deadlocks (40P01)', { some => 10, full => 200 }, sub ($f, $n) {
    my @ours = qw(aegis_gateway aegis_worker);
    my $end = sub { $f->pg->do('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY (?)', \@ours) };
    my $set = sub ($what) { $f->pg->do("ALTER ROLE $_ $what") for @ours; $end->() };
    my $log = sub ($what) { scalar(() = slurp($f->run_dir . '/log/postgres.log') =~ /ERROR:  $what/g) };
    my %was = map { $_ => $log->($_) } my @what = ('could not serialize access', 'deadlock detected');
    push @{ $f->{undo} }, sub { $set->('RESET default_transaction_isolation'); $set->('RESET deadlock_timeout') };

    $set->(q{SET default_transaction_isolation = 'serializable'});
    my $c = $f->under_load(sub { $f->{chaos}[-1]->n('first') > 40 * $n }, clients => 16, auto => 0.3);
    $f->must(!$c->n(500), 'answers were 500');
    my ($answers, $refused) = map { $c->n($_) } 'answered', 503;
    $f->say('in SERIALIZABLE: answers and of them 503' => "$answers $refused");
    $f->must($refused * 200 <= $answers, "$refused of $answers answers were 503 in SERIALIZABLE");
    $set->('RESET default_transaction_isolation');

    $set->(q{SET deadlock_timeout = '200ms'});
    my $other = $f->pg->connect;
    $other->do(q{SET deadlock_timeout = '10s'});
    my ($made, $at) = (0, 'free');
    $c = $f->under_load(sub {
        if ($at eq 'free') {
            return 1 if $made >= $n;
            $other->begin_work;
            $other->do('LOCK TABLE aegis.outbox IN SHARE ROW EXCLUSIVE MODE');
            $at = 'held';
        }
        elsif ($at eq 'held' && $f->pg->one(q{SELECT count(*) FROM pg_locks WHERE NOT granted AND relation IN (SELECT oid FROM pg_class WHERE relname ~ '^outbox')})) {
            $other->do(q{SELECT 1 FROM aegis.ops_case WHERE status NOT IN ('CLOSED', 'PARKED') FOR UPDATE}, { pg_async => DBD::Pg::PG_ASYNC() });
            $at = 'asked';
        }
        elsif ($at eq 'asked' && $other->pg_ready) {
            eval { $other->pg_result };
            $other->rollback;
            ($made, $at) = ($made + 1, 'free');
        }
        return 0;
    }, clients => 16, auto => 0.3, timeout => 60 + 3 * $n);
    $other->disconnect;
    $f->must(!$c->n(500), 'answers were 500');
    $f->say('with deadlocks: answers and of them 503' => join ' ', map { $c->n($_) } 'answered', 503);
    for my $what (@what) {
        my $seen = $log->($what) - $was{$what};
        $f->must($seen, "$what was never said");
        $f->say($what => $seen);
    }
    healed($f, 'conflicts of others');
});

# The server's own refusals, one after the other; each ends and all goes on.
sub refused ($f, $what, $on, $off, %args) {
    my ($began, $acked, $until) = (0, 0, 0);
    my $c = $f->chaos(clients => 6, auto => 0.1);
    $f->must($c->drive(sub {
        if (!$until && $c->n('first') > 40) { $on->(); $until = time + ($args{seconds} // 4) }
        if ($until && time > $until && !$began) { $off->(); $began = time; $acked = $c->n('first') }
        return $began && $c->n('first') > $acked + 40;
    }, 120), "$what: writes did not come back by themselves");
    $f->say("$what: refused", sum0(map { $c->n($_) } 500, 503, 504));
    $f->must(!$c->n(500), "$what: " . $c->n(500) . ' answers were 500');
    healed($f, $what);
    $f->say("$what: healed after s", sprintf '%.1f', time - $began) if $began;
}

Aegis::Faults::fault('F11-read-only', 'the server becomes read-only, as a standby is (25006)', { some => 1, full => 5 }, sub ($f, $n) {
    my $set = sub ($on) {
        $f->pg->do('ALTER SYSTEM ' . ($on ? 'SET default_transaction_read_only = on' : 'RESET default_transaction_read_only'));
        $f->pg->do('SELECT pg_reload_conf()');
    };
    for (1 .. $n) { refused($f, 'read-only', sub { $set->(1) }, sub { my $d = $f->pg->connect; $d->do('SET default_transaction_read_only = off'); $f->pg->disconnect; $set->(0) }) }
});

# What a server that is full says to each that comes, whoever was first: by the limit of
# the roles, since who is cut off is back before somebody else can take its place.
Aegis::Faults::fault('F11-connections', 'no connection can be had (53300)', { some => 1, full => 5 }, sub ($f, $n) {
    my $refusals = sub { scalar(() = slurp($f->run_dir . '/log/postgres.log') =~ /FATAL:  too many connections for role "aegis_(?:gateway|worker)"/g) };
    my $limit = sub ($to) { $f->pg->do("ALTER ROLE $_ CONNECTION LIMIT $to") for qw(aegis_gateway aegis_worker) };
    my $was = $refusals->();
    for (1 .. $n) {
        refused($f, 'too many connections', sub {
            $limit->(0);
            $f->pg->do(q{SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('aegis_gateway', 'aegis_worker')});
        }, sub {
            $f->must($f->{chaos}[-1]->n(503), 'nobody was told');
            $limit->(-1);
        }, seconds => 8);
    }
    my $seen = $refusals->() - $was;
    $f->must($seen >= 2 * $n, "only $seen connections were refused");
    $f->say('connections refused' => $seen);
});

# The ledgers of today on a disk of their own, which somebody fills (53100).
Aegis::Faults::fault('F11-disk', 'the disk is full', { some => 1, full => 5 }, sub ($f, $n) {
    return $f->violation('needs root, for a small disk') if $> != 0;
    my $dir = $f->run_dir . '/small';
    mkdir $dir;
    # what earlier faults left of today is moved there too: room for it, and 16 MiB that load and filler share
    my $part = q{relkind = 'r' AND relname ~ ('^(idempotency|inbox|outbox)_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD') || '$')};
    my $size = 16 + int(($f->pg->one("SELECT sum(pg_table_size(oid)) FROM pg_class WHERE $part") + (1 << 20) - 1) >> 20);
    run_ok(['mount', '-t', 'tmpfs', '-o', "size=${size}m,mode=0777", 'aegis-small', $dir]);
    Aegis::Test::at_end(sub { run(['umount', '-l', $dir]) });
    mkdir "$dir/pg";
    my ($uid, $gid) = (getpwnam 'postgres')[2, 3];
    chown $uid, $gid, "$dir/pg";
    my @part = map { "aegis.$_->{relname}" } @{ $f->pg->rows("SELECT relname FROM pg_class WHERE $part") };
    $f->say('MiB of the disk' => $size);
    $f->pg->do("CREATE TABLESPACE small LOCATION '$dir/pg'");
    $f->pg->do("ALTER TABLE $_ SET TABLESPACE small") for @part;
    for (1 .. $n) {
        my $full = 0;
        refused($f, 'a full disk', sub { run(['dd', 'if=/dev/zero', "of=$dir/filler", 'bs=64k']) }, sub {
            $full += $f->{chaos}[-1]->n(503);
            unlink "$dir/filler";
        });
        $f->must($full, 'nobody met the full disk');
    }
    $f->pg->do("ALTER TABLE $_ SET TABLESPACE pg_default") for @part;
    $f->pg->do('DROP TABLESPACE small');
    run(['umount', '-l', $dir]);
});

Aegis::Faults::fault('F12', 'the server hangs: nothing arrives, nothing is closed', { some => 1, full => 10 }, sub ($f, $n) {
    my $proxy = $f->proxy_pg('relay', 'fsm');
    for (1 .. $n) { refused($f, 'a hang', sub { $proxy->say('blackhole') }, sub { $proxy->say('pass') }, seconds => 8) }
    $proxy->say('reset');
    healed($f, 'connections that were reset');
});

Aegis::Faults::fault('net', 'delays, resets, half-closed and truncated connections to PostgreSQL', { some => 12, full => 300 }, sub ($f, $n) {
    my $proxy = $f->proxy_pg('relay', 'fsm', 'exec');
    my ($done, $next) = (0, 0);
    $f->under_load(sub {
        return $done >= $n if time < $next;
        $next = time + 0.3;
        $proxy->say('delay 0');
        my $how = $done++ % 5;
        $proxy->say($how == 0 ? 'reset' : $how == 1 ? 'halfclose' : $how == 2 ? 'delay ' . (5 + $f->rand(60))
            : 'truncate ' . ($how == 3 ? 'up ' : 'down ') . (1 + $f->rand(3000)));
        return 0;
    }, clients => 8, auto => 0.1, timeout => 60 + $n);
    $proxy->say('pass');
    $f->say('cut at a byte' => $proxy->cuts);
    healed($f, 'a bad network');
});

Aegis::Faults::fault('F25', 'a gateway is cut off from PostgreSQL', { some => 1, full => 10 }, sub ($f, $n) {
    my $proxy = $f->proxy_pg;
    for (1 .. $n) {
        $proxy->say($_) for qw(refuse reset);
        $f->comes('/readyz to say 503', 20, sub { $f->http->with->get('/readyz')->status == 503 });
        $f->must($f->http->with->get('/livez')->status == 200, '/livez is 200');
        # nobody waits for what has been away for longer than anybody may wait
        $f->comes('writes to be refused at once', 20, sub {
            my $began = time;
            my $r = $f->http->with->write('POST', '/case/create', { title => 'cut off', mode => 'manual' });
            return $r->status == 503 && defined $r->header('retry-after') && time - $began < 0.5;
        });
        $proxy->say('pass');
        $f->comes('/readyz to be 200 again', 20, sub { $f->http->with->get('/readyz')->status == 200 });
    }
});

# A function with another result: what was prepared is of no more use (0A000).
Aegis::Faults::fault('plans', 'prepared statements are out of date: a function was replaced', { fast => 1, some => 2, full => 10 }, sub ($f, $n) {
    my ($args, $result) = @{ $f->pg->row(q{SELECT pg_get_function_arguments(oid) AS a, pg_get_function_result(oid) AS r FROM pg_proc WHERE proname = 'outbox_next'}) }{qw(a r)};
    for my $i (1 .. $n) {
        my $src = $f->pg->one(q{SELECT pg_get_functiondef(oid) FROM pg_proc WHERE proname = 'outbox_next'});
        my $other = $src =~ s/created_at timestamp with time zone\)/created_at timestamp with time zone, more_$i int)/r
            =~ s/(x\.traceparent, x\.created_at)/$1, 1/r;
        $f->must($other ne $src, 'another function could be made');
        for my $sql ($other, $src) {
            $f->pg->do('DROP FUNCTION aegis.outbox_next(smallint[], int, bigint[], timestamptz, timestamptz)');
            $f->pg->do($sql);
            $f->pg->do('GRANT EXECUTE ON FUNCTION aegis.outbox_next(smallint[], int, bigint[], timestamptz, timestamptz) TO aegis_worker');
            healed($f, 'another function');
        }
    }
});

# An nginx in front that sends a POST to the next gateway when the first says nothing.
Aegis::Faults::fault('F26', 'a load balancer sends again what had no answer', { some => 30, full => 1000 }, sub ($f, $n) {
    my @url = map { $_->{url} } $f->http, $f->second_gateway;
    my ($dir, $port) = (scratch('balancer'), free_port());
    spew("$dir/nginx.conf", "pid $dir/pid; error_log $dir/log; daemon off; worker_processes 1; events {} http { access_log off;\n"
        . 'upstream gw { ' . join(' ', map { 'server ' . ($_ =~ s{https://}{}r) . ' max_fails=0;' } @url) . " }\n"
        . "server { listen 127.0.0.1:$port; location / { proxy_pass https://gw; proxy_ssl_name localhost;"
        . " proxy_next_upstream error timeout http_502 http_503 non_idempotent; } } }\n");
    mkdir "$dir/logs";
    my $lb = start_process('balancer', ['nginx', '-p', $dir, '-c', "$dir/nginx.conf", '-e', "$dir/log"], stop => 'QUIT');
    my $http = Aegis::Http->new(url => "http://127.0.0.1:$port", token => $f->stack->token);
    wait_for('the balancer', 10, sub { $http->get('/livez')->status == 200 });
    for my $i (1 .. $n) {
        $f->fp->arm('gw.before_header', 'error');
        my $key = "lb-$f->{mark}-$i";
        my $r = $http->with->write('POST', '/case/create', { title => $key, mode => 'manual', tags => ["lb-$f->{mark}"] }, key => $key);
        $f->must($r->status == 201, "$key: " . $r->brief);
        $f->{inv}->client('default', $key, '/case/create', $r);
    }
    stop_process($lb);
    $f->must($f->pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text)', "lb-$f->{mark}") == $n, 'not one case a key');
});

# count: seconds of each kind
Aegis::Faults::fault('F19', 'slow headers, slow bodies, slow readers (slowhttptest)', { some => 6, full => 30 }, sub ($f, $n) {
    return $f->violation('slowhttptest is not installed') unless have('slowhttptest');
    my $port = Aegis::Faults::Gateway::plain_port($f);
    my $load = sub ($s) { my $until = time + $s; return $f->under_load(sub { time > $until }, clients => 8, timeout => $s + 60) };
    my $base = $load->($n)->quantile(0.99);
    $f->say('p99 without, ms', sprintf '%.1f', 1000 * $base);
    my %kind = (headers => ['-H'], bodies => ['-B', '-s', '8192'], readers => ['-X', '-w', '10', '-y', '20', '-n', '5', '-z', '32']);
    for my $kind (sort keys %kind) {
        my $p = start_process("slow-$kind", ['slowhttptest', @{ $kind{$kind} }, '-c', '1000', '-r', '500', '-l', $n + 2, '-i', '2', '-u', "http://127.0.0.1:$port/case", '-p', '5'], cwd => scratch());
        my $c = $load->($n);
        stop_process($p);
        $f->say("p99 with slow $kind, ms", sprintf '%.1f', 1000 * $c->quantile(0.99));
        $f->must($c->quantile(0.99) < 2 * $base + 0.02, "slow $kind more than double the p99 of others");
    }
});

1;
