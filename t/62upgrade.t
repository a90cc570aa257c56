# 62upgrade.t: nginx comes and goes under load: reloads one after the other, the
# change of the binary and its roll-back, a worker that is cut off. Every request
# that was accepted is answered and took effect once; no worker, database
# connection, file or shared counter is left over.
# AEGIS_T_RELOADS says how many reloads (25); `make reload-storm` asks for 200.
use v5.36;
use lib 't/lib';
use Test::More;
use Time::HiRes qw(time);
use Aegis::Case;
use Aegis::Invariants;
use Aegis::Load;
use Aegis::Stack;
use Aegis::Test;

my $reloads = $ENV{AEGIS_T_RELOADS} || (is_san ? 8 : 25);
# what the sanitizer keeps back of freed memory would hide what is lost
my $stack = Aegis::Stack->own('upgrade', env => { NGX_WORKERS => 2, ROLES => 'relay', ASAN_EXTRA => 'quarantine_size_mb=1' });
my $pg = $stack->pg;
my $run = $stack->run_dir;
my $conns = sub { $pg->one(q{SELECT count(*) FROM pg_stat_activity WHERE usename = 'aegis_gateway'}) };
my $fds = sub ($pid) { scalar(() = glob "/proc/$pid/fd/*") };
my $rss = sub ($pid) { (slurp("/proc/$pid/status") =~ /^VmRSS:\s*(\d+)/m)[0] };

# the new binary is started with an empty environment
$stack->nginx_edit(sub ($conf) { "env LD_PRELOAD;\nenv ASAN_OPTIONS;\nenv UBSAN_OPTIONS;\n$conf" }) if is_san;

# What the clients were told against what the database holds.
sub settle ($load, $what) {
    is_deeply([ ($load->lost)[0 .. ($#{ [ $load->lost ] } < 9 ? $#{ [ $load->lost ] } : 9)] ], [], "$what: each of " . $load->n('answered')
        . ' requests was answered as it should (' . join(', ', map { $load->n($_) . " $_" } qw(connections closed_idle resent)) . ')');
    my %seen;
    my @creates = grep { $_->[0] eq '/case/create' && $_->[2]->status == 201 && !$seen{ $_->[1] }++ } $load->ledger;
    my @moves = grep { $_->[0] ne '/case/create' && $_->[2]->status == 200 && !$seen{ $_->[1] }++ } $load->ledger;
    is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text)', $load->{tag}), scalar @creates, "$what: each case that was made is there once, and no other");
    is($pg->one('SELECT count(*) FROM aegis.ops_case WHERE tags @> jsonb_build_array(?::text) AND version = 2', $load->{tag}), scalar @moves, "$what: each that was moved has moved once");
    my $inv = Aegis::Invariants->new($pg->connect);
    $inv->client('default', $_->[1], $_->[0], $_->[2]) for $load->ledger;
    $inv->check(only => [qw(I01 I02 I04 I08 I09)]);
    $inv->{dbh}->do('DELETE FROM t_client');
}

sub at_rest ($what) {
    ok(wait_for('old workers to go', 30, sub { my @w = $stack->nginx_workers; @w == 2 && !grep { $_->{exiting} } @w }), "$what: no old worker is left");
    ok(wait_for('old connections to go', 15, sub { $conns->() <= 2 * 4 }), "$what: no old database connection is left: " . $conns->());
}

# The workers of a master that take requests, once they are not those of %$not.
sub fresh ($master, $not = {}) {
    my @w = grep { !$_->{exiting} && $_->{cmd} =~ /worker process/ } $stack->children($master);
    return @w == 2 && !grep({ $not->{ $_->{pid} } } @w) ? { map { $_->{pid} => 1 } @w } : undef;
}

subtest "$reloads reloads under load" => sub {
    my $master = $stack->pid('nginx');
    my $load = Aegis::Load->new(http => $stack->http, clients => 8, tag => "reload-$$");
    my ($done, $old, $asked, $most) = (0, fresh($master), 0, 0);
    my ($fds_was, $rss_was, $rss_mid);
    my $began = time;
    my $in_time = $load->drive(sub {
        return 0 if $load->n('answered') < $asked;
        if (my $new = $done ? fresh($master, $old) : $old) {
            if ($done == 3) { ($fds_was, $rss_was) = ($fds->($master), $rss->($master)) }
            $old = $new;
            my $c = $conns->();
            $most = $c if $c > $most;
            return 1 if $done == $reloads;
            kill 'HUP', $master;
            $done++;
        }
        $asked = $load->n('answered') + 4;
        return 0;
    }, 20 + 2 * $reloads);
    ok($in_time, sprintf '%d reloads in %.1f s', $done, time - $began);
    settle($load, "$done reloads");
    cmp_ok($load->n('answered'), '>=', 4 * $done, 'requests went on all the while');
    at_rest("$done reloads");
    cmp_ok($fds->($master), '<=', $fds_was + 2, "the master has no more open files than after the third reload: $fds_was, " . $fds->($master));
    cmp_ok($rss->($master), '<=', $rss_was + 4096 + 16 * $done, "nor more memory to speak of: $rss_was KiB, " . $rss->($master) . ' KiB');
    cmp_ok($most, '<=', 2 * 4 * 4, "never more than a few generations' database connections at once: $most");
};

# USR2 until the new master's workers are there. Returns its pid.
sub change_binary ($load, $old) {
    my ($new, $sent);
    ok($load->drive(sub {
        kill 'USR2', $old if !$sent++;
        return 0 if $load->n('answered') % 8;
        $new //= do { my $p = eval { slurp("$run/pid/nginx.pid") =~ s/\s+//gr } // ''; $p =~ /^\d+$/ && $p != $old ? $p : undef };
        return $new && fresh($new);
    }), 'USR2: a second master with workers of its own') or return;
    is(slurp("$run/pid/nginx.pid.oldbin") =~ s/\s+//gr, $old, 'the first one is nginx.pid.oldbin');
    my $from = $load->n('answered');
    ok($load->drive(sub { $load->n('answered') > $from + 100 }), 'both serve');
    return $new;
}

# A signal, and load until code holds and for a hundred answers more.
sub signalled ($load, $signal, $pid, $what, $code) {
    my ($sent, $from);
    ok($load->drive(sub {
        kill $signal, $pid if !$sent++;
        return 0 if $load->n('answered') % 8;
        if (!defined $from) { $from = $load->n('answered') if $code->(); return 0 }
        return $load->n('answered') > $from + 100;
    }), $what);
}

subtest 'another binary under load' => sub {
    my $old = $stack->pid('nginx');
    my $load = Aegis::Load->new(http => $stack->http, clients => 8, tag => "upgrade-$$");
    my $new = change_binary($load, $old) or return;
    signalled($load, 'WINCH', $old, 'WINCH: the first master\'s workers go', sub { !grep { $_->{cmd} =~ /worker process/ } $stack->children($old) });
    ok(alive($old), 'the first master itself stays');
    signalled($load, 'QUIT', $old, 'QUIT: it goes too', sub { !alive($old) });
    is($stack->pid('nginx'), $new, 'nginx.pid is the second one\'s');
    settle($load, 'the upgrade');
    at_rest('the upgrade');
};

subtest 'and back again' => sub {
    my $old = $stack->pid('nginx');
    my $load = Aegis::Load->new(http => $stack->http, clients => 8, tag => "rollback-$$");
    my $new = change_binary($load, $old) or return;
    signalled($load, 'WINCH', $old, 'WINCH: the first master\'s workers go', sub { !grep { $_->{cmd} =~ /worker process/ } $stack->children($old) });
    signalled($load, 'HUP', $old, 'HUP: the first one has workers again', sub { fresh($old) });
    signalled($load, 'QUIT', $new, 'QUIT: the second one goes', sub { !alive($new) });
    is($stack->pid('nginx'), $old, 'nginx.pid is the first one\'s again');
    ok(!-e "$run/pid/nginx.pid.oldbin", 'and nginx.pid.oldbin is gone');
    settle($load, 'the roll-back');
    at_rest('the roll-back');
};

subtest 'worker_shutdown_timeout cuts off what does not end' => sub {
    my $undo = $stack->nginx_edit(sub ($conf) { $conf =~ s/worker_shutdown_timeout \S+;/worker_shutdown_timeout 1s;/r =~ s/^(\s*aegis_zone)/    aegis_timeout 120s;\n$1/mr });
    at_rest('before');
    my $c = Aegis::Case->create($stack->http, mode => 'manual');
    my $client = $stack->http->with;
    $client->{sock} = $client->open_socket;
    my $lock = $pg->connect;
    $lock->begin_work;
    $lock->do('SELECT 1 FROM aegis.ops_case WHERE case_id = ? FOR UPDATE', undef, $c->id);
    my $key = new_key();
    syswrite $client->{sock}, $client->render('PATCH', '/case/' . $c->id . '/transition', json => { event => 'force_park' }, headers => ['Idempotency-Key', $key]);
    wait_for('it to wait for the lock', 10, sub { $pg->one("SELECT count(*) FROM pg_stat_activity WHERE usename = 'aegis_gateway' AND wait_event_type = 'Lock'") });
    $undo->();
    ok(wait_for('the old workers to go', 20, sub { my @w = $stack->nginx_workers; @w == 2 && !grep { $_->{exiting} } @w }), 'the worker goes although its statement runs');
    is($client->raw('', timeout => 10)->status, 0, 'its client hears nothing, and knows no more than the key');
    $lock->rollback;
    my $r = wait_for('the retry', 20, sub { my $r = $c->say('force_park', key => $key); $r->status == 200 ? $r : undef });
    is($r->status, 200, 'with which the next worker answers');
    is($c->version, 2, 'it happened once');
    at_rest('then');
};

$stack->finish;
done_testing;
