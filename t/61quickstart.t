# 61quickstart.t: the quick start where somebody has been rough with it: killed
# everything, removed its folder or the link to it while it was up, cloned it
# into a folder with a blank, or lacks packages; and each scenario of make demo. It repairs what it can, and says
# at once what it cannot. The orderly way is in 60reload.t and 99stack.t.
use v5.36;
use lib 't/lib';
use Test::More;
use File::Path qw(remove_tree);
use Aegis::Case;
use Aegis::Stack;
use Aegis::Test;

my $qs = root . '/deploy/quickstart';
my $stack = Aegis::Stack->own('rough');
my $run = $stack->run_dir;

# What names the folder on its command line: zombies have none.
sub running ($dir) {
    return map { m{(\d+)} } grep { (eval { slurp($_) } // '') =~ m{\Q$dir\E/} } glob '/proc/[0-9]*/cmdline';
}

# One of the scripts, with this installation's knobs; what it said.
sub qs ($name, %env) {
    my $out = scratch() . "/$name.out";
    my @args = @{ delete $env{args} // [] };
    my $r = run(['sh', '-c', 'out=$1; shift; exec "$0" "$@" >"$out" 2>&1 </dev/null', "$qs/$name.sh", $out, @args], timeout => 180,
        env => { RUN_DIR => $run, B => build_dir, SAN => is_san ? 1 : '', PG_EXTRA_CONF => 'fsync = off', %env });
    return ($r->{rc}, slurp($out));
}

sub case_goes_on ($what) {
    $stack->_read_env;
    my $c = Aegis::Case->create($stack->http, mode => 'auto');
    ok($c->wait_state('CLOSED'), "$what, a case walks to CLOSED");
}

subtest 'everything was killed' => sub {
    my @all = running($run);
    cmp_ok(scalar @all, '>=', 17, @all . ' processes are there');
    kill 'KILL', @all;
    my ($rc, $said) = qs('up');
    is($rc, 0, 'up.sh brings all of it back') or diag($said);
    unlike($said, qr/error|did not/i, 'without a complaint');
    case_goes_on('then');
};

subtest 'lock files name a process of somebody else' => sub {
    is((qs('down'))[0], 0, 'it is stopped');
    my $pg = "$run/pg/postmaster.pid";
    ok(!-e $pg, 'orderly');
    spew($pg, join "\n", $$, "$run/pg", time, 0, '', '127.0.0.1', '', '');
    chown((stat "$run/pg")[4, 5], $pg);
    my ($rc, $said) = qs('up');
    is($rc, 0, 'PostgreSQL starts all the same') or diag($said);
    case_goes_on('then');
};

subtest 'its folder was removed while it was up' => sub {
    my @all = running($run);
    remove_tree($run);
    my ($rc, $said) = qs('down');
    is($rc, 0, 'down.sh is content');
    like($said, qr/stopped what had no pid file/, 'it says what it found');
    ok(wait_for('them to end', 20, sub { !grep { alive($_) } @all }), 'none of ' . @all . ' processes is left');
    ($rc, $said) = qs('up');
    is($rc, 0, 'up.sh starts afresh') or diag($said);
    @all = running($run);
    remove_tree($run);
    ($rc, $said) = qs('up');
    is($rc, 0, 'and does so over a system without files as well') or diag($said);
    ok(!(grep { alive($_) } @all), 'which is stopped first');
    case_goes_on('then');
};

subtest 'a closed folder, whose link was removed' => sub {
    plan skip_all => 'only root gives the parts users of their own' if $> != 0;
    my $closed = scratch('closed');
    chmod 0700, $closed;
    my @knobs = (RUN_DIR => "$closed/run", ROLES => '');
    my ($rc, $said) = qs('up', @knobs);
    is($rc, 0, 'up.sh makes a link to an open place') or diag($said);
    my $to = readlink "$closed/run";
    unlink "$closed/run";
    is((qs('up', @knobs))[0], 0, 'up.sh again');
    is(readlink "$closed/run", $to, 'it finds the same place');
    unlink "$closed/run";
    is((qs('down', @knobs))[0], 0, 'down.sh without the link');
    is_deeply([running($to)], [], 'stops what runs there');
    is((qs('clean', @knobs))[0], 0, 'clean.sh');
    ok(!-e $to, 'removes the place');
};

subtest 'paths that configuration files do not take' => sub {
    for my $bad ("a b", "a'b", 'a"b', 'a$b', 'a;b', 'a\\b', "a\tb", 'a*b', 'a{b') {
        my ($rc, $said) = qs('demo', RUN_DIR => scratch() . "/$bad");
        is($rc, 1, "RUN_DIR $bad is refused");
        like($said, qr/\Aerror: the path .* has characters.*\n  -> choose another place: RUN_DIR=/, 'first of all, and with a remedy');
    }
    my $dir = scratch("my clone");
    symlink root . "/$_", "$dir/$_" for qw(Makefile deploy);
    my $r = run(['make', '-n', 'demo'], cwd => $dir);
    is($r->{rc}, 2, 'make in a folder with a blank is refused');
    like($r->{err}, qr/the path ".*my clone" has a blank.*: move or clone it elsewhere/, 'by name and with a remedy');
};

subtest 'an ordinary user without the packages' => sub {
    my $dir = scratch('bare');
    run_ok(['sh', '-c', 'mkdir -p deploy && cp -r "$0" deploy/ && mkdir -p none/info none/updates && : >none/status', $qs], cwd => $dir);
    my @as = $> == 0 ? ('setpriv', '--reuid=nobody', '--regid=nogroup', '--clear-groups', '--') : ();
    my $r = run([@as, "$dir/deploy/quickstart/deps.sh"], env => { DPKG_ADMINDIR => "$dir/none" });
    is($r->{rc}, 1, 'deps.sh fails');
    like($r->{err}, qr/^error: these Debian packages are missing: .*\bgcc\b.*\bnginx-dev\b/, 'it names the packages');
    like($r->{err}, qr{^  -> .*root.*make -C \S+ deps$}m, 'what root can run');
    like($r->{err}, qr{^  -> or: apt-get update && apt-get install .*\bnginx-dev\b}m, 'or the command behind it');
};

subtest 'the scenarios of make demo' => sub {
    my @names = sort map { m{([^/]+)\.sh$} } glob "$qs/scenarios/*.sh";
    my ($rc, $said) = qs('demo', args => ['list']);
    is($rc, 0, 'make demo SCENARIO=list');
    is_deeply([map { (split)[0] } split /\n/, $said], \@names, 'names each of ' . @names);
    unlike($said, qr/^\S+\s*$/m, 'with a sentence');
    for my $bad ('nope', '../scenario', '-x', 'A') {
        ($rc, $said) = qs('demo', args => [$bad]);
        is($rc, 1, "$bad is refused");
        like($said, qr/\Aerror: there is no scenario "\Q$bad\E"; there are:\n  -> $names[0] /, 'and told what there is');
    }
    my $r = run(['make', '-n', 'demo', 'SCENARIO=canary'], cwd => root);
    like($r->{out}, qr{demo\.sh canary$}m, 'make hands the name on');
    for my $name (@names) {
        ($rc, $said) = qs('demo', args => [$name]);
        is($rc, 0, "$name goes as it should") or diag($said);
    }
};

$stack->down;
done_testing;
