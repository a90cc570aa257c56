# 99stack.t: the end of a prove run: the installation that the suites shared is
# held against the invariants once more, stopped, and leaves nothing behind.
use v5.36;
use lib 't/lib';
use Test::More;
use File::Path qw(remove_tree);
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->existing or plan skip_all => 'no installation was shared';
my $run = $stack->run_dir;
ok($stack->quiet(60), 'the installation comes to rest');
my $n = $stack->pg->one('SELECT count(*) FROM aegis.ops_case');
cmp_ok($n, '>', 0, "$n cases have been made in it");
my $inv = Aegis::Invariants->new($stack->pg->dbh);
$inv->check(only => [qw(I01 I02 I03 I04 I05 I07 I10 I11 I12 I13)]);

my @pids = grep { $_ } map { $stack->pid($_) } 'nginx', 'nats', map { ($_, "$_.sup") } $stack->roles;
push @pids, map { $_->{pid} } $stack->nginx_workers;
my $postmaster = (split /\n/, slurp("$run/pg/postmaster.pid"))[0];
push @pids, $postmaster, map { $_->{pid} } $stack->children($postmaster);
cmp_ok(scalar @pids, '>=', 17, @pids . ' processes of it are running');
$stack->down;
ok(wait_for('them to end', 20, sub { !grep { alive($_) } @pids }), 'after down.sh none is');
my @left = grep { (eval { slurp($_) } // '') =~ /\Q$run\E\// } glob '/proc/[0-9]*/cmdline';
is_deeply(\@left, [], 'no process names its folder any more');
my @bad = $stack->complaints;
@bad = grep { !/\[(?:alert|emerg)\]|PANIC|was terminated/ } @bad;       # each suite has looked at its own
is(scalar @bad, 0, 'no sanitizer report was written at the end, nor before') or diag(@bad);
remove_tree($stack->{base}) unless $ENV{AEGIS_T_KEEP};

done_testing;
