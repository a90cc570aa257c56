# Aegis::Faults::Workers: faults of the workers and of the bus between them: each
# failpoint of each role, kills at random, scripts whose executor dies, the bus away,
# rolled back, delivering twice and out of order, and messages that nobody can read.
package Aegis::Faults::Workers;

use v5.36;
use List::Util qw(max sum0);
use Time::HiRes qw(time);
use Aegis::Faults;
use Aegis::Nats;
use Aegis::Test;

my @roles = qw(fsm analyst planner gate exec verify);
my %at = (relay => ['relay'], exec => ['exec'], role => ['relay', @roles], module => [qw(analyst planner gate verify)]);

# A case that the workers move by themselves: most say something, some run a script.
sub auto ($f, $n, %labels) {
    my $kind = $n % 4;
    my %l = (service => "s$n", env => 'staging', $kind == 1 ? (script => 't-effect.sh', retry_safe => 'true')
        : $kind == 3 ? (script => 't-effect.sh') : (), %labels);
    my $r = $f->http->write('POST', '/case/create', { title => "fault $n", tags => [ $labels{tag} // 'fault' ], labels => \%l });
    die 'create: ' . $r->brief . "\n" unless $r->status == 201;
    return $r->json->{case_id};
}

# Every trial: [point, role, what].
sub trials ($n) {
    my @t;
    for my $p (grep { $_->{who} ne 'gateway' } Aegis::Failpoint->points) {
        for my $role (@{ $at{ $p->{who} } }) {
            next if $role eq 'relay' && $p->{name} =~ /^consumer/;
            push @t, map { my $what = $_; map { [$p, $role, $what] } 1 .. $n } grep { $_ ne 'lose' } @{ $p->{what} };
        }
    }
    return @t;
}

sub shuffle ($f, @v) {
    for my $i (reverse 1 .. $#v) { my $k = $f->rand($i + 1); @v[$i, $k] = @v[$k, $i] }
    return @v;
}

# One after the other is armed and reached; what it stopped has to go on by itself.
Aegis::Faults::fault('role-points', 'each failpoint of each role', { some => 1, full => 20 }, sub ($f, $n) {
    $f->effect_script('0.1');
    # role after role: what one stopped is not stopped again by another's trial
    my (%of, @hit, $was);
    push @{ $of{ $_->[1] } }, $_ for grep { !$ENV{ROLE} || $_->[1] eq $ENV{ROLE} } trials($n);
    my @trials = map { shuffle($f, @{ $of{$_} }) } shuffle($f, sort keys %of);
    my $cases = 0;
    my $closed = sub { $f->resume_parked; !$f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status <> 'CLOSED' AND } . $Aegis::Faults::auto) };
    for my $t (@trials) {
        $f->comes("the cases of $was to be CLOSED", 120, $closed) if defined $was && $was ne $t->[1];
        $was = $t->[1];
        my ($p, $role, $what) = @$t;
        $f->stack->wait_worker($role) or $f->violation("$role is not back");
        my $fired = $f->fp->fired($p->{name});
        my $pid = $f->stack->pid($role);
        $f->fp->arm($p->{name}, $what, who => $role, ms => 1500);
        # what an adapter is at work on takes a script
        my $id = auto($f, $p->{name} =~ /effect/ ? 1 + 2 * $f->rand(2) : $cases);
        $cases++;
        my $hit = wait_for("$p->{name} of $role", 25, sub { $f->fp->fired($p->{name}) > $fired }, quiet => 1);
        $f->fp->disarm($p->{name});
        $f->must($hit, "$p->{name} of $role was not reached for $what") or next;
        push @hit, { id => $id, at => time, role => $role, what => "$p->{name} $role $what" };
        $f->comes("$role to be another process", 20, sub { ($f->stack->pid($role) // $pid) != $pid }) if $what eq 'kill';
    }
    $f->say(trials => scalar @trials);
    $f->say(reached => scalar @hit);
    $f->comes('its cases to be CLOSED', 120, $closed);
    resumed($f, @hit);
});

# How long the case that was hit stood still: to its next row, from the hit, or from
# the last one that the same role has had meanwhile.
sub resumed ($f, @hit) {
    my @s;
    for my $h (@hit) {
        my $next = $f->pg->one(q{SELECT extract(epoch FROM min(created_at)) FROM aegis.case_timeline WHERE case_id = ? AND created_at > to_timestamp(?)}, $h->{id}, $h->{at}) // next;
        push @s, [$next - max(map { $_->{at} } grep { $_->{role} eq $h->{role} && $_->{at} < $next } @hit), $h->{what}];
    }
    @s = sort { $a->[0] <=> $b->[0] } @s;
    return unless @s;
    $f->say('next step after s, median', sprintf '%.2f', $s[ @s / 2 ][0]);
    $f->say('next step after s, most', sprintf '%.2f (%s)', @{ $s[-1] });
    # the lease, and the wait for an ack, are 10 s
    my @late = grep { $_->[0] > 11 } @s;
    $f->say('later than lease + 1 s', scalar(@late) . ' of ' . @s . (@late ? ': ' . join ', ', map { sprintf '%.1f %s', @$_ } @late[0 .. ($#late < 4 ? $#late : 4)] : ''));
}

Aegis::Faults::fault('F4', 'kill -9 of workers at random, while cases walk', { some => 20, full => 300 }, sub ($f, $n) {
    $f->effect_script('0.05');
    my ($killed, $next) = (0, time + 1);
    $f->under_load(sub {
        return $killed >= $n if time < $next;
        my $role = ('relay', @roles)[ $f->rand(7) ];
        my $pid = $f->stack->pid($role) or return 0;
        return 1 if $killed >= $n;
        kill 'KILL', $pid;
        $killed++;
        $next = time + 0.1 + $f->rand(400) / 1000;
        return 0;
    }, clients => 4, auto => 0.5, labels => { script => 't-effect.sh', retry_safe => 'true' }, timeout => 60 + 2 * $n);
});

Aegis::Faults::fault('F5', 'the executor dies while a script is at work', { some => 3, full => 50 }, sub ($f, $n) {
    $f->effect_script('3.17');
    for my $i (1 .. $n) {
        my $id = auto($f, 3);
        my $child;
        $f->comes('the script to run', 30, sub {
            return 0 unless $f->pg->one(q{SELECT count(*) FROM aegis.exec_step s JOIN aegis.exec_run r USING (exec_id) WHERE r.case_id = ? AND s.state = 'RUNNING'}, $id);
            ($child) = grep { (eval { slurp("/proc/$_/cmdline") } // '') =~ /^sleep\0003\.17\0/ } map { m{(\d+)$} } glob '/proc/[0-9]*';
            return $child;
        }) or next;
        my $pid = $f->stack->kill_worker('exec');
        $f->comes('the script to die with it', 5, sub { !alive($child) });
        $f->stack->wait_worker('exec', $pid);
        $f->comes('the case to be PARKED for it', 30, sub { $f->pg->one(q{SELECT status FROM aegis.ops_case WHERE case_id = ?}, $id) eq 'PARKED' });
        # the next one is not to die, but to be quick
        $f->effect_script(0);
        $f->resume_parked;
        $f->comes('and CLOSED when a person said so', 60, sub { $f->resume_parked; $f->pg->one(q{SELECT status FROM aegis.ops_case WHERE case_id = ?}, $id) eq 'CLOSED' });
        $f->effect_script('3.17');
    }
    $f->effect_script(0);
});

# count: seconds, each of TURNS times. So many requests a second come as before, and what
# piled up is worked off. What a request takes without and with the broker is compared
# turn by turn, with the time before and after each: other work on the machine moves both.
Aegis::Faults::fault('F13', 'nats-server is away for so many seconds', { some => 12, full => 600 }, sub ($f, $n) {
    my $rate = $ENV{RATE} || 100;
    my $side = $ENV{SIDE} || ($n < 60 ? 5 : 120);
    my $turns = $ENV{TURNS} || 1;
    my $load = sub ($s) { my $until = time + $s; $f->under_load(sub { time > $until }, clients => 16, rate => $rate, timeout => $s + 60) };
    my (@with, @during, %used, @published, $backlog);
    push @with, $load->($side);
    for (1 .. $turns) {
        $f->stack->kill_nats;
        my $cpu = cpu($f);
        push @during, $load->($n);
        my $now = cpu($f);
        $used{$_} += ($now->{$_} // 0) - ($cpu->{$_} // 0) for keys %$cpu;
        $backlog = $f->pg->one('SELECT count(*) FROM aegis.outbox WHERE published_at IS NULL');
        my $began = time;
        $f->stack->start_nats;
        my $up = time;
        $f->comes('the outbox to be published', 60 + $n, sub { !$f->pg->one('SELECT EXISTS (SELECT FROM aegis.outbox WHERE published_at IS NULL)') });
        my ($first, $last) = $f->pg->dbh->selectrow_array('SELECT extract(epoch FROM min(published_at)), extract(epoch FROM max(published_at)) FROM aegis.outbox WHERE published_at > to_timestamp(?)', undef, $began);
        push @published, [$first - $up, $backlog / max(0.001, $last - $first)];
        push @with, $load->($side);
    }
    my $q = sub ($p, @c) { my @s = sort { $a <=> $b } map { @{ $_->{slow} } } @c; sprintf '%.1f', 1000 * ($s[ $p * $#s ] // 0) };
    for my $p (0.5, 0.9, 0.99) {
        my $name = sprintf 'p%d, ms: ', 100 * $p;
        $f->say("${name}before and after" => $q->($p, @with));
        $f->say("${name}while it was away" => $q->($p, @during));
        next if $turns == 1;
        $f->say("${name}before and after, turn by turn" => join ' ', map { $q->($p, $_) } @with);
        $f->say("${name}while it was away, turn by turn" => join ' ', map { $q->($p, $_) } @during);
    }
    $f->say('requests a second' => $rate);
    $f->say("CPU of $_ while it was away, %" => sprintf '%.1f', 100 * $used{$_} / $n / $turns) for sort keys %used;
    $f->say(backlog => $backlog);
    $f->say('published again after s', join ' ', map { sprintf '%.2f', $_->[0] } @published);
    $f->say('drained at messages/s', join ' ', map { sprintf '%.0f', $_->[1] } @published) if $backlog > 1;
});

# All that publish and consume, by a proxy that breaks the way there.
Aegis::Faults::fault('net-nats', 'delays, silence, resets, half-closed and truncated connections to nats-server', { some => 14, full => 210 }, sub ($f, $n) {
    my $proxy = $f->proxy_nats('relay', @roles);
    my ($done, $next, $silent, %how) = (0, 0, 0);
    $f->under_load(sub {
        return 0 if time < $next;
        $proxy->say('delay 0');
        # what was swallowed is gone: such a connection is not one to go on with
        $proxy->say($_) for $silent ? qw(pass reset) : ();
        return 1 if $done >= $n;
        my $how = ('reset', 'halfclose', 'delay', 'blackhole', 'refuse', 'truncate up', 'truncate down')[ $done++ % 7 ];
        $silent = $how eq 'blackhole' || $how eq 'refuse';
        $how{$how}++;
        $proxy->say($how . ($how eq 'delay' ? ' ' . (5 + $f->rand(200)) : $how =~ /truncate/ ? ' ' . (1 + $f->rand(4000)) : ''));
        $proxy->say('reset') if $how eq 'refuse';
        $next = time + ($silent ? 2 : 0.5) + $f->rand(500) / 1000;
        return 0;
    }, clients => 8, rate => 100, auto => 0.3, timeout => 60 + 3 * $n);
    $proxy->say($_) for 'delay 0', 'pass';
    $f->say($_ => $how{$_}) for sort keys %how;
    $f->must($proxy->cuts, 'no connection was cut at a byte');
    $f->say('cut at a byte' => $proxy->cuts);
    Aegis::Faults::Database::healed($f, 'a bad network to the bus');
});

# Seconds of CPU that each role has used.
sub cpu ($f) {
    my %s;
    for my $role ('relay', @roles) {
        my @stat = split ' ', (eval { slurp('/proc/' . $f->stack->pid($role) . '/stat') } // '') =~ s/^.*\) //sr;
        $s{$role} = ($stat[11] + $stat[12]) / 100 if @stat;
    }
    return \%s;
}

# The store of the broker as it was before: what it acknowledged since is gone. part:
# all of it, or the messages without the consumers' places in them.
sub rolled_back ($f, $n, $part) {
    my $store = $f->run_dir . '/nats/store';
    my $tag = "rolled-$f->{mark}-$part";
    $f->stack->kill_nats;
    run_ok(['cp', '-a', $store, "$store.old"]);
    $f->stack->start_nats;
    # commands are published and acknowledged, and nobody takes them
    my @stopped = map { $f->stack->pid($_) } qw(planner gate exec);
    kill 'STOP', @stopped;
    my @id = map { auto($f, 2, tag => $tag) } 1 .. $n;
    my $published = sub { $f->pg->one(q{SELECT count(*) FROM aegis.outbox o JOIN aegis.ops_case c USING (tenant, case_id) WHERE o.subject = 'cmd.plan.generate' AND o.published_at IS NOT NULL AND c.tags @> jsonb_build_array(?::text)}, $tag) };
    $f->comes('their commands to be acknowledged', 60, sub { $published->() == $n });
    $f->stack->kill_nats;
    if ($part eq 'all') {
        run_ok(['rm', '-rf', $store]);
        rename "$store.old", $store;
    }
    else {
        for my $msgs (glob "$store/jetstream/*/streams/*/msgs") {
            run_ok(['rm', '-rf', $msgs]);
            run_ok(['cp', '-a', $msgs =~ s{\Q$store\E}{$store.old}r, $msgs]);
        }
        run_ok(['rm', '-rf', "$store.old"]);
    }
    $f->stack->start_nats;
    kill 'CONT', @stopped;
    my $began = time;
    my $took = $f->comes('all of them to be CLOSED', 120, sub {
        !$f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status <> 'CLOSED' AND tags @> jsonb_build_array(?::text)}, $tag) });
    $f->say('commands lost' => $n);
    $f->say('sent again' => $f->pg->one(q{SELECT count(*) FROM aegis.outbox o JOIN aegis.ops_case c USING (tenant, case_id) WHERE o.msg_id LIKE '%:nudge:%' AND c.tags @> jsonb_build_array(?::text)}, $tag));
    $f->say('the last one sent again after s', sprintf '%.1f', $f->pg->one(q{SELECT extract(epoch FROM max(o.created_at)) - ? FROM aegis.outbox o JOIN aegis.ops_case c USING (tenant, case_id) WHERE o.msg_id LIKE '%:nudge:1' AND c.tags @> jsonb_build_array(?::text)}, $began, $tag) // -1);
    $f->say('all CLOSED after s', sprintf '%.1f', $took // -1);
    forget_bus($f);
}

# What the broker has lost cannot be looked for in its log: from here on there is no
# ledger of the bus, and I05 and I06 say less.
sub forget_bus ($f) {
    $f->{inv}{dbh}->do('DELETE FROM t_bus');
    $f->{no_bus} = 1;
}

Aegis::Faults::fault('F14', 'the store of nats-server is rolled back', { some => 10, full => 200 }, sub ($f, $n) { rolled_back($f, $n, 'all') });
Aegis::Faults::fault('F14b', 'its messages are rolled back, the consumers\' places in them are not', { some => 10, full => 200 }, sub ($f, $n) { rolled_back($f, $n, 'messages') });

# Each message that the bus stores comes three times more, later and in any order.
Aegis::Faults::fault('F16', 'every message is delivered four times, out of order', { some => 4000, full => 50_000 }, sub ($f, $n) {
    $f->effect_script(0);
    my $url = $f->stack->e('NATS_URL');
    my ($ears, $mouth) = map { Aegis::Nats->new($url) } 1, 2;
    $ears->listen($_) for 'cmd.>', 'evt.>';
    my ($sent, $heard, $facts, $made, $tag, @later) = (0, 0, 0, 0, "twice-$f->{mark}");
    my $closed = sub { $f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status = 'CLOSED' AND tags @> jsonb_build_array(?::text)}, $tag) };
    my $until = time + 60 + $n / 20;
    my ($looked, $look_at) = (0, 0);
    while (time < $until) {
        if ($sent < $n && $made - $looked < 60) { auto($f, $made++, tag => $tag) for 1 .. 4 }
        while (my $m = $ears->_next(0.002)) {
            next if $m->{headers} =~ /^X-Again:/m;
            $heard++;
            $facts++ if $m->{subject} =~ /^evt/;
            push @later, map { [time + $f->rand(2000) / 1000, $m] } 1 .. 3;
        }
        my @due = grep { $_->[0] <= time } @later;
        @later = grep { $_->[0] > time } @later;
        for my $d (shuffle($f, @due)) { $mouth->_pub($d->[1]{subject}, $d->[1]{body}, '', 'X-Again' => 1, 'Nats-Msg-Id' => "again-$f->{mark}-" . $sent++) }
        if (time > $look_at) { $looked = $closed->(); $look_at = time + 0.3 }
        $f->resume_parked if $sent >= $n;
        last if $sent >= $n && $looked == $made && !@later;
    }
    $_->close for $ears, $mouth;
    $f->must($looked == $made, "$looked of $made cases are CLOSED");
    $f->say(cases => $made);
    $f->must($facts > $made && $heard - $facts > $made, "$facts facts and " . ($heard - $facts) . " commands of $made cases were heard");
    $f->say(messages => $heard);
    $f->say('delivered again' => $sent);
});

# Messages that cannot be read, that nobody knows, that nobody may.
sub poison ($f, $i) {
    my $id = "poison-$f->{mark}-$i-" . $f->rand(1 << 30);
    my $kind = $i % 5;
    my @subject = ('evt.case.created.v1', 'cmd.plan.generate', 'evt.plan.proposed.v1', 'cmd.exec.run', 'evt.exec.done.v1');
    my $subject = $subject[ $i / 5 % 5 ];
    my %e = (specversion => '1.0', id => $id, source => 'urn:aegis:test', type => $subject, time => '2026-01-01T00:00:00Z',
        datacontenttype => 'application/json', tenant => 'default', data => { case_id => uuid, tenant => 'default', case_version => 3 });
    my $body = $kind == 0 ? '{"specversion":"1.0","id":' : $kind == 1 ? "\x00\xff\xfe" . 'x' x 500 : do {
        $e{type} = 'evt.never.heard.v9' if $kind == 2;
        delete $e{data} if $kind == 3;
        $e{data}{case_id} = 'not-a-case' if $kind == 4;
        json_encode(\%e);
    };
    return ($subject, $body, $id);
}

# Cases in blocks, every fourth block without poison: what others' messages wait is
# compared side by side, since other work on the machine moves both. A case is about
# five messages.
Aegis::Faults::fault('F17', 'poison among the messages', { fast => 20, some => 100, full => 1000 }, sub ($f, $n) {
    my $cases = $ENV{CASES} || ($n < 100 ? 8 : $n < 1000 ? 320 : 10_000);
    my $block = $n < 100 ? 8 : $n < 1000 ? 40 : 250;
    my $nats = $f->stack->nats;
    my $dead = sub { $f->pg->one(q{SELECT count(*) FROM aegis.dead_letter WHERE msg_id LIKE 'poison-%' OR msg_id LIKE 'sha256:%'}) };
    my ($i, $all, $b, $was) = (0, 0, 0, $dead->());
    while ($all < $cases || $b < 4) {
        my $with = $b++ % 4 != 0;
        my ($tag, $made, $closed) = ('poison-' . ($with ? 'with' : 'without') . "-$f->{mark}", 0, 0);
        my $before = $f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status = 'CLOSED' AND tags @> jsonb_build_array(?::text)}, $tag);
        my $until = time + 120;
        while (time < $until) {
            if ($made < $block && $made - $closed < 40) { auto($f, 2, tag => $tag); $made++; $all += $with }
            while ($with && $i < $n * $all / $cases && $i < $n) {
                my ($subject, $body, $id) = poison($f, $i++);
                $nats->publish($subject, $body, id => $id);
            }
            next if $made % 10 && $made < $block;
            $closed = $f->pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE status = 'CLOSED' AND tags @> jsonb_build_array(?::text)}, $tag) - $before;
            last if $closed == $block;
        }
        $f->must($closed == $block, "block $b: $closed of $block cases are CLOSED") or last;
    }
    for my $which ('without', 'with') {
        # from the commit that wrote a message to the transaction that handled it
        my @lag = $f->pg->dbh->selectrow_array(q{SELECT count(*), percentile_cont(0.5) WITHIN GROUP (ORDER BY s), percentile_cont(0.99) WITHIN GROUP (ORDER BY s)
            FROM (SELECT extract(epoch FROM i.created_at - o.created_at) AS s FROM aegis.ops_case c JOIN aegis.outbox o USING (tenant, case_id)
                    JOIN aegis.inbox i ON i.tenant = o.tenant AND i.msg_id = o.msg_id WHERE c.tags @> jsonb_build_array(?::text)) x}, undef, "poison-$which-$f->{mark}");
        $f->say("messages $which poison, their lag in ms, p50 and p99", sprintf '%d: %.1f %.1f', $lag[0], map { 1000 * ($_ // 0) } @lag[1, 2]);
    }
    $f->comes('each of them to be a dead letter', 60, sub { $dead->() - $was >= $i });
    $f->must($i == $n && $dead->() - $was == $n, 'dead letters: ' . ($dead->() - $was) . ", poison: $i of $n");
    $f->must(!$f->pg->one(q{SELECT count(*) FROM aegis.dead_letter WHERE msg_id NOT LIKE 'poison-%' AND msg_id NOT LIKE 'sha256:%'}), 'something else became a dead letter');
    $f->must(!$f->pg->one(q{SELECT count(*) FROM aegis.dead_letter WHERE reason = ''}), 'one has no reason');
    $f->say("dead letters: $_->{code}" => $_->{n}) for @{ $f->pg->rows('SELECT code, count(*) AS n FROM aegis.dead_letter GROUP BY 1') };
});

# The bus loses what it acknowledged, once in a while: only the reconciler knows.
Aegis::Faults::fault('lost', 'a batch that the bus acknowledged is lost', { some => 3, full => 20 }, sub ($f, $n) {
    my $undo = $f->stack->conf_edit('aegis.yaml', sub ($c) { "${c}reconcile:\n  after_s: 5\n  every_s: 1\n" }, 'relay');
    push @{ $f->{undo} }, $undo;
    for my $i (1 .. $n) {
        my $fired = $f->fp->fired('relay.publish');
        $f->fp->arm('relay.publish', 'lose', nth => 1 + $f->rand(6));
        my $id = auto($f, 2);
        $f->comes('the batch to be lost', 20, sub { $f->fp->fired('relay.publish') > $fired });
        $f->comes('the case to be CLOSED all the same', 40, sub { $f->pg->one('SELECT status FROM aegis.ops_case WHERE case_id = ?', $id) eq 'CLOSED' });
    }
    $f->say('sent again' => $f->pg->one(q{SELECT count(*) FROM aegis.outbox WHERE msg_id LIKE '%:nudge:%'}));
    forget_bus($f);
});

1;
