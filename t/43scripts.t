# 43scripts.t: what a script is given and what it is kept from: parameters that
# nobody interprets, a file that is what its list says, an environment made for
# it, namespaces and a filter of system calls. Fork bombs, escapes by setsid,
# 10 GB of output and races with symbolic links are contained.
use v5.36;
use lib 't/lib';
use Digest::SHA qw(sha256_hex);
use Encode ();
use JSON::PP ();
use Test::More;
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $effects = $stack->effect_file;
my $scripts = $stack->run_dir . '/conf/scripts';
my $ns = $stack->metric('exec', 'aegis_exec_confined', 'by="namespaces"');

sub step ($script, @args) { return { name => $script, action => 'script.exec', params => { script => $script, args => \@args } } }

# The run of a plan with these steps, when it is over.
sub execute (@steps) {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => { steps => \@steps });
    my $exec = $c->post('/adapter/exec')->json->{exec_id};
    return wait_for('the run to end', 60, sub { my $r = $http->get("/exec/$exec")->json; $r->{finished_at} ? $r : undef })
        // die "the run does not end\n";
}

sub steps ($run) { return grep { $_->{phase} eq 'step' } @{ $run->{steps} } }
sub out ($step, $which = 'stdout') { return $step->{output}{$which} ? slurp($stack->run_dir . "/objects/$step->{output}{$which}{key}") : '' }
sub alive_of ($exec) { return grep { (eval { slurp("$_/environ") } // '') =~ /AEGIS_EXEC_ID=\Q$exec\E/ } glob '/proc/[0-9]*' }
sub set (%s) { %s = (tmp_mb => 0, %s); my $y = join '', map { "  $_: $s{$_}\n" } sort keys %s;
    my $undo = $stack->conf_edit('aegis.yaml', sub ($t) { $t =~ s/^script:\n(?:  .*\n)*/script:\n$y/mr }, 'exec');
    my $n = $stack->metric('exec', 'aegis_config_last_reload_successful');
    return $undo }

subtest 'injection strings are data' => sub {
    my @strings = @{ json_decode(slurp(root . '/t/data/exec/injection.json')) };
    cmp_ok(scalar @strings, '>=', 200, scalar(@strings) . ' strings');
    $stack->add_script('t-argv.sh', "#!/bin/sh\n# says what it was given\n[ \$# = 0 ] || printf '%s\\0' \"\$@\"\n");
    my (@steps, @want);
    my @left = @strings;
    while (my @part = splice @left, 0, 30) {
        push @steps, step('t-argv.sh', @part);
        push @want, [@part];
    }
    my $run = execute(@steps);
    is($run->{state}, 'DONE', 'a script gets them as arguments') or diag($run->{reason});
    my @bad;
    for my $s (steps($run)) {
        my @got = map { Encode::decode('UTF-8', $_) } split /\0/, out($s), -1;
        pop @got;
        my @wanted = @{ $want[$s->{step_no} - 1] };
        push @bad, grep { ($got[$_] // '') ne $wanted[$_] } 0 .. $#wanted;
        push @bad, "step $s->{step_no}: " . @got . ' arguments' if @got != @wanted;
        push @bad, "step $s->{step_no}: stderr: " . out($s, 'stderr') if length out($s, 'stderr');
    }
    is_deeply(\@bad, [], 'each arrives as it was written, byte for byte');
    my @found = grep { -e } map { "$_/aegis-injected" } '/', '/tmp', $stack->run_dir, "$scripts", $stack->run_dir . '/objects', root;
    is_deeply(\@found, [], 'and none of them was run');
    for my $by (qw(bash perl python3)) {
        next unless -x "/usr/bin/$by";
        $stack->add_script("t-by-$by.sh", "#!/usr/bin/$by\n# says what runs it\n" . ($by eq 'bash' ? "echo $by\n" : "print('$by')\n"));
        is(out((steps(execute(step("t-by-$by.sh"))))[0]) =~ s/\n//r, $by, "a script of $by is run, and from its beginning");
    }
    my $name = $http->write('POST', '/plan/generate', { case_id => Aegis::Case->create($http, mode => 'manual')->drive('PLANNING')->id,
        plan => Aegis::Case::echo_plan(steps => [step('$(id)')]) });
    is($name->status, 422, 'as the name of a script they are refused');
};

subtest 'only what the list says is run' => sub {
    my $bad = "#!/bin/sh\n# must not run\necho evil >>$effects\n";
    $stack->add_script('t-good.sh', "#!/bin/sh\n# may run\necho good\n");
    my $run = execute(step('t-good.sh'));
    is($run->{state}, 'DONE', 'a listed script runs');
    spew("$scripts/t-new.sh", $bad); chmod 0755, "$scripts/t-new.sh";
    $run = execute(step('t-new.sh'));
    like($run->{reason}, qr/script t-new\.sh is not in SHA256SUMS/, 'one that is not listed does not');
    spew("$scripts/t-good.sh", $bad); chmod 0755, "$scripts/t-good.sh";
    $run = execute({ %{ step('t-good.sh') }, retry => { max => 3, backoff_ms => 0 } });
    like($run->{reason}, qr/script t-good\.sh is not what SHA256SUMS says: its sha256 is ${\sha256_hex($bad)}/, 'one that was changed does not');
    is(scalar(steps($run)), 1, 'and is not tried again');
    unlink "$scripts/t-good.sh"; symlink '/bin/true', "$scripts/t-good.sh";
    like(execute(step('t-good.sh'))->{reason}, qr/symbolic link/, 'nor a symbolic link');
    unlink "$scripts/t-good.sh"; mkdir "$scripts/t-good.sh";
    like(execute(step('t-good.sh'))->{reason}, qr/not a regular file/, 'nor a folder');
    rmdir "$scripts/t-good.sh";
    my $was = slurp("$scripts/SHA256SUMS");
    rename "$scripts/SHA256SUMS", "$scripts/SHA256SUMS.away";
    $stack->add_script('t-good.sh', "#!/bin/sh\n# may run\necho good\n");
    unlink "$scripts/SHA256SUMS";
    like(execute(step('t-good.sh'))->{reason}, qr/no SHA256SUMS in exec\.script_dir/, 'without a list nothing runs');
    rename "$scripts/SHA256SUMS.away", "$scripts/SHA256SUMS";
    is(slurp($effects) =~ /evil/ ? 1 : 0, 0, 'nothing of that has acted');
};

subtest 'a race with the name of a script' => sub {
    my $good = "#!/bin/sh\n# may run\necho good\n";
    $stack->add_script('t-race.sh', $good);
    my $dir = scratch('race');
    spew("$dir/evil", "#!/bin/sh\n# must not run\necho evil >>$effects\n"); chmod 0755, "$dir/evil";
    my $flipper = start_process('flipper', [$^X, '-e', q{
        my ($name, $evil, $good) = @ARGV;
        sub put { open my $f, '>', "$name.x" or die; print $f $_[0]; close $f; chmod 0755, "$name.x"; rename "$name.x", $name }
        open my $e, '<', $evil; local $/; my $bad = <$e>;
        while (1) { put($good); select undef, undef, undef, rand 0.008; symlink $evil, "$name.l"; rename "$name.l", $name; select undef, undef, undef, rand 0.002; put($bad); select undef, undef, undef, rand 0.002 }
    }, "$scripts/t-race.sh", "$dir/evil", $good]);
    my %n;
    # a refusal is final, so each run shows one look at the name or more
    for (1 .. 60) {
        for my $s (steps(execute(map { step('t-race.sh') } 1 .. 4))) {
            $n{ $s->{state} }++;
            $n{other}++ if $s->{state} eq 'OK' ? out($s) ne "good\n" : $s->{error} !~ /symbolic link|not what SHA256SUMS|No such file/;
        }
        last if ($n{OK} // 0) >= 3 && ($n{FAILED} // 0) >= 3;
    }
    stop_process($flipper);
    cmp_ok($n{OK} // 0, '>', 0, 'it ran ' . ($n{OK} // 0) . ' times');
    cmp_ok($n{FAILED} // 0, '>', 0, 'and was refused ' . ($n{FAILED} // 0) . ' times');
    ok(!$n{other}, 'and each time what the list says, or not at all');
    is(slurp($effects) =~ /evil/ ? 1 : 0, 0, 'never the other file');
    unlink "$scripts/t-race.sh";
};

subtest 'its environment is made for it' => sub {
    $stack->add_script('t-env.sh', "#!/bin/bash\n# shows what it has\nenv -0 | tr '\\0' '\\n' | grep -v -e ^_= -e ^SHLVL= -e ^PWD=\necho fds: \$(ls /proc/self/fd | wc -l)\nread -t 1 x || echo no stdin\ngrep -E '^(NoNewPrivs|Seccomp):' /proc/self/status\npwd\n");
    my $run = execute(step('t-env.sh'));
    my ($s) = steps($run);
    my $text = out($s);
    my %env = $text =~ /^([A-Z_]+)=(.*)$/mg;
    is_deeply([ sort keys %env ], [sort qw(PATH LANG AEGIS_TENANT AEGIS_CASE_ID AEGIS_EXEC_ID AEGIS_PHASE AEGIS_STEP AEGIS_ATTEMPT AEGIS_TOKEN)],
        'its variables are those of the manual, and no others') or diag($text);
    is($env{AEGIS_EXEC_ID}, $run->{exec_id}, 'with what they say');
    like($text, qr/^no stdin$/m, 'its stdin is empty');
    my ($fds) = $text =~ /^fds: (\d+)$/m;
    cmp_ok($fds, '<=', 5, "it has no other descriptor ($fds)");
    like($text, qr/^NoNewPrivs:\s+1$/m, 'it can gain no privilege');
    like($text, qr/^Seccomp:\s+2$/m, 'a filter of system calls is on it');
};

subtest 'its namespaces' => sub {
    plan skip_all => 'there are no namespaces to be had here' unless $ns;
    $stack->add_script('t-ns.sh', "#!/bin/sh\n# looks around\necho pid \$\$\necho processes \$(ls /proc | grep -c '^[0-9]')\necho links \$(grep -c : /proc/net/dev)\n"
        . "unshare -U true 2>&1 && echo unshared\nmount -t tmpfs none /mnt 2>&1 && echo mounted\nkill -9 1 2>/dev/null; echo still here\nid -u\n");
    my ($s) = steps(execute(step('t-ns.sh')));
    my $text = out($s);
    my ($pid) = $text =~ /^pid (\d+)/m;
    cmp_ok($pid, '<', 100, "it is process $pid of its own");
    my ($n) = $text =~ /^processes (\d+)/m;
    cmp_ok($n, '<', 10, "and sees $n processes: no other's");
    like($text, qr/^links 1$/m, 'its network is a loopback of its own');
    unlike($text, qr/^(?:unshared|mounted)$/m, 'it makes no namespace and no mount');
    like($text, qr/^still here$/m, 'it cannot end its init');
    my $undo = set(network => '"t-other.sh t-ns.sh"');
    my $links;
    ok(wait_for('the setting to be in force', 20, sub { ($links) = out((steps(execute(step('t-ns.sh'))))[0]) =~ /^links (\d+)$/m; $links > 1 }), "what script.network lists has the host's network ($links links)")
        if () = slurp('/proc/net/dev') =~ /:/g;
    $undo->();
};

subtest 'a fork bomb' => sub {
    my $undo = set(processes => 100);
    wait_for('the setting', 10, sub { slurp($stack->run_dir . '/log/exec.log') =~ /reload/ });
    $stack->add_script('t-bomb.sh', "#!/bin/bash\n# forks for ever\nb() { b | b & }\nb 2>/dev/null\nwhile :; do b 2>/dev/null; sleep 0.05; done\n");
    my $run = execute({ %{ step('t-bomb.sh') }, timeout_s => 2 });
    my ($s) = steps($run);
    like($s->{state}, qr/^(?:TIMEOUT|FAILED)$/, "is ended: $s->{error}");
    ok(wait_for('nothing to be left', 10, sub { !alive_of($run->{exec_id}) }), 'and leaves nobody behind');
    is(execute({ name => 'say', action => 'echo', params => { message => 'well' } })->{state}, 'DONE', 'the executor is well');
    $undo->();
};

subtest 'escapes' => sub {
    $stack->add_script('t-escape.sh', "#!/bin/bash\n# leaves by every door\n(setsid bash -c 'trap \"\" TERM HUP; exec sleep 910' &)\n(nohup setsid setsid sleep 911 >/dev/null 2>&1 </dev/null &)\n"
        . "perl -e 'use POSIX; fork && exit; POSIX::setsid(); fork && exit; chdir \"/\"; close \$_ for *STDIN, *STDOUT, *STDERR; sleep 912'\nsleep 0.3\n[ \"\$1\" = stay ] && exec sleep 913\nexit 0\n");
    # and one that nobody can know by its environment
    $stack->add_script('t-hide.sh', "#!/bin/bash\n# hides\n(env -i setsid bash -c 'trap \"\" TERM HUP; exec sleep 914' &)\n(setsid setsid sleep 911 >/dev/null 2>&1 </dev/null &)\nsleep 0.3\nexec sleep 913\n");
    for my $box ($ns ? 'auto' : (), 'off') {
        my $undo = set(namespaces => $box, processes => 8192);    # without namespaces it counts all of the user's
        wait_for('the setting', 15, sub { $stack->metric('exec', 'aegis_exec_confined', 'by="namespaces"') == ($box eq 'auto') });
        for my $how (['done', 20], ['stay', 2]) {
            my $run = execute({ %{ step('t-escape.sh', $how->[0]) }, timeout_s => $how->[1] });
            my ($s) = steps($run);
            is($s->{state}, $how->[0] eq 'stay' ? 'TIMEOUT' : 'OK', "namespaces $box, $how->[0]: the script is over");
            is(scalar(alive_of($run->{exec_id})), 0, "namespaces $box, $how->[0]: and nobody of it is left when that is recorded");
        }
        $undo->();
    }
    wait_for('the setting', 15, sub { $stack->metric('exec', 'aegis_exec_confined', 'by="namespaces"') == $ns });
};

# Who stands between the executor and the script of a run, and how many there are of it.
my $parents = sub () { map { (eval { slurp("$_/stat") } // '') =~ /^(\d+) \(.*\) \S (\d+)/s ? ($1 => $2) : () } glob '/proc/[0-9]*' };
my $says = sub ($pid, $file) { (eval { slurp("/proc/$pid/$file") } // '') };
my $between = sub ($exec) {
    my ($at) = grep { $says->($_, 'cmdline') =~ /^sleep\x{0}913/ } map { s{.*/}{}r } alive_of($exec);
    my (%p, %is) = $parents->();
    for (; $at; $at = $p{$at}) { $says->($at, 'comm') =~ /^aegis-(warden|keeper)/ and $is{$1} = $at }
    return \%is;
};
my $tree = sub ($root) { my %p = $parents->(); my @all = ($root); for my $at (@all) { push @all, grep { $p{$_} == $at } keys %p } return @all };
my $begin = sub ($script) {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => { steps => [step($script, 'stay')] });
    my $exec = $c->post('/adapter/exec')->json->{exec_id};
    wait_for('it to run', 20, sub { (grep { $says->($_, 'cmdline') =~ /^sleep\x{0}913/ } map { s{.*/}{}r } alive_of($exec)) && keys %{ $between->($exec) } == 2 }) // die "it does not run\n";
    my $is = $between->($exec);
    wait_for('it to have hidden', 20, sub { grep { $says->($_, 'cmdline') =~ /^sleep\x{0}914/ } $tree->($is->{keeper}) }) if $script eq 't-hide.sh';
    return { exec => $exec, %$is, all => [ grep { $_ != $is->{keeper} && $_ != $is->{warden} } $tree->($is->{keeper}) ], when => { map { $_ => $says->($_, 'stat') =~ /\) (?:\S+ ){19}(\d+)/s } $tree->($is->{keeper}) } };
};
# those of them that are alive: the same number that began at the same moment
my $left = sub ($r) { grep { my $s = $says->($_, 'stat'); $s =~ /\) (\S) (?:\S+ ){18}(\d+)/s && $1 ne 'Z' && $2 == $r->{when}{$_} } @{ $r->{all} } };
my $over = sub ($r) { wait_for('the run to end', 60, sub { my $x = $http->get("/exec/$r->{exec}")->json; $x->{finished_at} ? $x : undef }) // {} };

subtest 'whoever is killed' => sub {
    for my $box ($ns ? 'auto' : (), 'off') {
        my $undo = set(namespaces => $box, processes => 8192);
        wait_for('the setting', 15, sub { $stack->metric('exec', 'aegis_exec_confined', 'by="namespaces"') == ($box eq 'auto') });
        # [script, who]: whoever cleans its environment can be known by its parents alone
        my @trials = (['t-hide.sh', 'warden'], ['t-hide.sh', 'keeper'], ['t-escape.sh', 'warden', 'keeper']);
        my @r = map { $begin->($_->[0]) } @trials;
        for my $i (0 .. $#r) {
            cmp_ok(scalar @{ $r[$i]{all} }, '>=', 3, "namespaces $box: a script of " . @{ $r[$i]{all} } . ' processes');
            kill 'KILL', map { $r[$i]{$_} } @{ $trials[$i] }[1 .. $#{ $trials[$i] }];
        }
        is($http->write('POST', "/exec/$r[1]{exec}/cancel", { reason => 'seen enough' })->status, 202, 'one that has no keeper is cancelled');
        for my $i (0 .. $#r) {
            my $what = "namespaces $box, without its " . join ' and ', @{ $trials[$i] }[1 .. $#{ $trials[$i] }];
            my $run = $over->($r[$i]);
            like($run->{reason} // '', $i == 1 ? qr/seen enough/ : qr/^outcome of step 1 unknown: .*warden was killed/, "$what: $run->{reason}");
            is_deeply([ $left->($r[$i]) ], [], "$what: nobody of it is left when that is recorded");
        }

        $undo->(), next if $box ne 'off';        # there the kernel ends what is in them: F5 of the campaign
        @trials = (['t-hide.sh'], ['t-hide.sh', 'warden'], ['t-hide.sh', 'keeper'], ['t-escape.sh', 'warden', 'keeper']);
        @r = map { $begin->($_->[0]) } @trials;
        my $executor = ($parents->())[0] && do { my %p = $parents->(); $p{ $r[0]{keeper} } };
        kill 'KILL', $executor, map { my $i = $_; map { $r[$i]{$_} } @{ $trials[$i] }[1 .. $#{ $trials[$i] }] } 0 .. $#r;
        for my $i (0 .. 2) {
            ok(wait_for('all of it to be gone', 10, sub { !$left->($r[$i]) }), "namespaces $box, without executor" . ($trials[$i][1] ? " and $trials[$i][1]" : '') . ': nobody of it is left');
        }
        for my $i (0 .. $#r) {
            my $run = $over->($r[$i]);
            like($run->{reason} // '', qr/^outcome of step 1 unknown/, $run->{reason} // 'no end');
            is_deeply([ $left->($r[$i]) ], [], "namespaces $box, without executor" . join('', map { ", $_" } @{ $trials[$i] }[1 .. $#{ $trials[$i] }]) . ': nobody is left when that is recorded');
        }
        $undo->();
    }
    wait_for('the setting', 15, sub { $stack->metric('exec', 'aegis_exec_confined', 'by="namespaces"') == $ns });
};

subtest 'a /tmp of its own' => sub {
    plan skip_all => 'there are no namespaces to be had here' unless $ns;
    my $undo = set(tmp_mb => 4);
    ok(wait_for('the setting', 15, sub { $stack->metric('exec', 'aegis_exec_confined', 'by="tmp"') }), 'the executor says that there is one');
    my $trap = "/tmp/aegis-t-trap-$$";
    symlink $effects, $trap or die $!;              # what a guessed name would lead to
    $stack->add_script('t-tmp.sh', "#!/bin/bash\n# uses its temporary folders\necho before: \$(ls -A /tmp /var/tmp /dev/shm | grep -v :)\n"
        . "for d in /tmp /var/tmp /dev/shm; do echo x >\$d/aegis-t-trap-$$ || echo no \$d; done\n"
        . "head -c 8388608 /dev/zero >/tmp/big || echo full\nstat -c 'size %s' /tmp/big\nfor i in {1..5000}; do : >/tmp/f\$i || break; done 2>/dev/null\nls /tmp | wc -l\n");
    my $was = slurp($effects);
    for my $round (1, 2) {
        my ($s) = steps(execute(step('t-tmp.sh')));
        my $text = out($s);
        like($text, qr/^before:$/m, "round $round: it is empty") or diag($text);
        unlike($text, qr/^no /m, 'and can be written to');
        my ($size) = $text =~ /^size (\d+)$/m;
        like($text, qr/^full$/m, 'up to script.tmp_mb');
        cmp_ok($size, '<=', 4 * 1048576, "that is $size bytes");
        my ($files) = $text =~ /^(\d+)\Z/m;
        cmp_ok($files, '<', 4100, "and $files files");
    }
    is(slurp($effects), $was, 'a link that somebody put there beforehand leads it nowhere');
    is_deeply([ grep { -e $_ && !-l $_ } map { ("$_/aegis-t-trap-$$", "$_/big") } '/tmp', '/var/tmp', '/dev/shm' ], [], 'and nothing of it is on the host');
    unlink $trap;
    $undo->();
    ok(wait_for('the setting', 15, sub { !$stack->metric('exec', 'aegis_exec_confined', 'by="tmp"') }), 'with 0 it has the host\'s');
};

subtest 'a control group of its own' => sub {
    my ($mount) = slurp('/proc/self/mountinfo') =~ /^(?:\S+ ){3}\/ (\S+) .* - cgroup2 /m;
    my $group = ($mount // '') . "/aegis-t-$$";
    plan skip_all => 'no control group (version 2) can be made here' unless $mount && -w "$mount/cgroup.procs" && mkdir $group;
    is($stack->metric('exec', 'aegis_exec_confined', 'by="cgroup"'), 0, 'a group that is not delegated is left alone');
    my $pid = $stack->pid('exec');
    my ($uid, $gid) = (stat "/proc/$pid")[4, 5];
    chown $uid, $gid, $group, map { "$group/cgroup.$_" } qw(procs subtree_control threads);
    # where version 2 has the controllers, whoever delegates hands them on; version 1 has groups of the same path
    if (open my $f, '>', "$mount/cgroup.subtree_control") { syswrite $f, '+memory +pids' }
    my $has = sub ($c) { (eval { slurp("$group/cgroup.controllers") } // '') =~ /\b$c\b/ };
    my @v1 = map { my $c = $_; my ($at) = slurp('/proc/self/mountinfo') =~ /^(?:\S+ ){3}\/ (\S+) .* - cgroup \S+ \S*\b$c\b/m;
        !$has->($c) && $at && -w "$at/cgroup.procs" && mkdir("$at/aegis-t-$$") ? "$at/aegis-t-$$" : () } qw(memory pids);
    chown $uid, $gid, $_ for @v1;
    my %can = map { my $c = $_; $c => ($has->($c) || grep { m{/$c/} } @v1) ? 1 : 0 } qw(memory pids);
    note("limits of groups that can be had here: memory $can{memory}, processes $can{pids}, " . (@v1 ? 'version 1' : 'version 2'));
    my $enter = sub ($to, @who) { for my $p (@who) { open my $f, '>', "$to/cgroup.procs" or die $!; syswrite $f, $p or die "$to: $!" } };
    my $sup = slurp($stack->run_dir . '/pid/exec.sup.pid') =~ s/\s//gr;
    $enter->($group, $sup, $pid);
    # the mark that systemd puts on what it delegates; without being root the owner says it too
    syscall 188, $group, 'user.delegate', '1', 1, 0 if $uid == 0;      # setxattr
    my @limits = (group_memory_mb => $can{memory} ? 100 : 0, group_processes => $can{pids} ? 40 : 0);
    my $undo = set(namespaces => '"off"', cgroup => 'require', processes => 8192, @limits);
    ok(wait_for('the setting', 15, sub { $stack->metric('exec', 'aegis_exec_confined', 'by="cgroup"') }), 'one that is delegated is divided')
        or diag(substr slurp($stack->run_dir . '/log/exec.log'), -1500);
    my $inside = sub ($of) { map { s{.*/}{}r } alive_of($of) };
    my $groups = sub () { grep { m{/aegis-\d+-\d+$} } map { glob "$_/*" } $group, @v1 };
    my $start = sub () {
        my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => { steps => [step('t-escape.sh', 'stay')] });
        my $exec = $c->post('/adapter/exec')->json->{exec_id};
        wait_for('it to run', 20, sub { grep { (eval { slurp("/proc/$_/cmdline") } // '') =~ /^sleep\x{0}913/ } $inside->($exec) });
        return ($c, $exec);
    };
    my ($c, $exec) = $start->();
    my @groups = $groups->();
    is(scalar @groups, 1 + @v1, 'a script has one' . (@v1 ? ', in each hierarchy' : ''));
    my %in = map { $_ => 1 } split /\n/, slurp("$groups[0]/cgroup.procs");
    is_deeply([ grep { !$in{$_} } $inside->($exec) ], [], scalar(keys %in) . ' processes of it, whatever they have left, are in it');
    $http->write('POST', "/exec/$exec/cancel", { reason => 'seen enough' });
    wait_for('the run to end', 30, sub { $http->get("/exec/$exec")->json->{finished_at} });
    is_deeply([ $inside->($exec), $groups->() ], [], 'a cancel leaves neither process nor group');

    # executor and warden at once: nobody is left who would look for what has escaped
    ($c, $exec) = $start->();
    my ($script) = map { m{/aegis-(\d+)-} } $groups->();
    my $is = $between->($exec);
    is(join(' ', sort keys %$is), 'keeper warden', 'another one has a keeper and a warden');
    kill 'KILL', $script, values %$is;
    ok(wait_for('nobody to be left', 30, sub { !$inside->($exec) && !$groups->() }), 'all three are killed: the next executor ends what it finds, and removes the group');
    my $run = wait_for('the run to end', 60, sub { my $r = $http->get("/exec/$exec")->json; $r->{finished_at} ? $r : undef });
    like($run->{reason} // '', qr/unknown/, 'and says that the outcome is not known');
    SKIP: {
        skip 'no controller of memory and processes can be had here', 4 unless $can{memory} && $can{pids};
        is_deeply([ map { $stack->metric('exec', 'aegis_exec_confined', "by=\"$_\"") } qw(group_memory group_processes) ], [1, 1], 'what it has together is limited');
        $stack->add_script('t-together.sh', "#!/bin/bash\n# eats memory, a little in each of four processes\nfor i in 1 2 3 4; do perl -e '\$x = \"x\" x 20_000_000; \$y = \$x . \$x; sleep 1' & p+=(\$!); done\nfor i in \${p[@]}; do wait \$i || exit \$?; done\n");
        $stack->add_script('t-many.sh', "#!/usr/bin/perl\n# wants many processes\nmy \$n = 0;\nfor (1 .. 60) { my \$p = fork; defined \$p or \$n++, next; \$p or exec 'sleep', 5 }\nexit(\$n ? 9 : 0);\n");
        my ($s) = steps(execute(step('t-together.sh')));
        like("$s->{state} $s->{error}", qr/^FAILED .*\(out of memory: script\.group_memory_mb\)/, "four processes that want too much together: $s->{error}");
        ($s) = steps(execute(step('t-many.sh')));
        like("$s->{state} $s->{error}", qr/^FAILED .*\(out of processes: script\.group_processes\)/, "sixty processes: $s->{error}");
        ($s) = steps(execute(step('t-argv.sh', 'well')));
        is($s->{state}, 'OK', 'the next one has all of it again');
    }
    $enter->($mount, $sup, $stack->pid('exec'));
    $undo->();
    ok(wait_for('the setting', 15, sub { !$stack->metric('exec', 'aegis_exec_confined', 'by="cgroup"') }), 'elsewhere it has none again');
    ok(wait_for('the group to be empty', 10, sub { rmdir $group }), 'and the group is gone');
    rmdir for @v1;
};

subtest '10 GB of output' => sub {
    $stack->add_script('t-flood.sh', "#!/bin/sh\n# says too much\nhead -c 10737418240 /dev/zero\necho done >&2\n");
    my ($s) = steps(execute(step('t-flood.sh')));
    is($s->{state}, 'OK', 'a script that writes 10 GB ends as it would have');
    my $file = $stack->run_dir . "/objects/$s->{output}{stdout}{key}";
    cmp_ok(-s $file, '<', 1048576 + 100, 'one MiB of it is kept');
    like(substr(slurp($file), -60), qr/\[truncated: 10736369664 bytes more\]/, 'and how much was dropped is said');
    is(out($s, 'stderr'), "done\n", 'what it said beside that is whole');
};

subtest 'too much memory' => sub {
    my $undo = set(memory_mb => 64);
    $stack->add_script('t-eat.sh', "#!/bin/sh\n# eats memory\nperl -e '\$x = \"x\" x 300_000_000; print \"eaten\\n\"'\n");
    my $s;
    ok(wait_for('the limit to be in force', 20, sub { ($s) = steps(execute(step('t-eat.sh'))); $s->{state} eq 'FAILED' }), 'a process that wants more than script.memory_mb fails');
    unlike(out($s), qr/eaten/, 'and gets it not');
    $undo->();
};

unlink glob "$scripts/t-new.sh*";
$stack->finish;
done_testing;
