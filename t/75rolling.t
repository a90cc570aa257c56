# 75rolling.t: a rolling upgrade: the version before this one runs under load;
# this one's migrations are applied beneath it, then its workers and its gateway
# come one by one, so that both versions live on one database. Nothing is refused,
# lost or done twice, and every case comes to its end. `make upgrade-test` builds
# the older version and runs it.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::HaLoad;
use Aegis::Invariants;
use Aegis::Stack;
use Aegis::Test;

my $old = $ENV{AEGIS_T_OLD};
plan skip_all => 'make upgrade-test: an older version has to be built' unless $old && -x "$old/build/release/aegis-worker";

my $stack = Aegis::Stack->own('rolling', tree => $old, env => { NGX_WORKERS => 2 });
my $pg = $stack->pg;
my $run = $stack->run_dir;
my $version = sub { $pg->one('SELECT max(version) FROM aegis.schema_migration') };
my @roles = grep { $stack->pid($_) } $stack->roles;
my $from = $version->();
my $load = Aegis::HaLoad->start(http => $stack->http, tag => "rolling-$$", clients => 4, auto => 5);
my $goes_on = sub ($what, $n = 60) {
    my $at = $load->writes;
    ok(wait_for("writes after $what", 60, sub { $load->writes > $at + $n }), "$what: writes go on");
};
$goes_on->('the older version alone');

subtest 'the schema first' => sub {
    my $r = run([build_dir . '/aegisctl', 'db', 'migrate', '--sql-dir', root . '/sql', '--database', $stack->e('DATABASE_ADMIN_URL')], timeout => 120);
    is($r->{rc}, 0, 'it is migrated under load') or diag($r->{out} . $r->{err});
    # an older version need not have an older schema; its functions are replaced all the same
    my ($newest) = map { m{/(\d+)_} ? 0 + $1 : () } reverse sort glob root . '/sql/migrations/*.sql';
    is($version->(), $newest, $newest == $from ? "the schema was $from already" : "from $from to $newest");
    $goes_on->('the older programs on the newer schema', 150);
};

# a file of the installation is replaced as a package does it
sub replace_file ($file, $with) {
    my ($uid, $gid) = (stat $file)[4, 5];
    spew("$file.new", slurp($with));
    chmod 0755, "$file.new";
    chown $uid, $gid, "$file.new";
    rename "$file.new", $file or die $!;
}

subtest 'then the workers, one by one' => sub {
    replace_file("$run/bin/aegis-worker", build_dir . '/aegis-worker');
    for my $role (@roles) {
        my $pid = $stack->kill_worker($role, 'TERM');
        ok($stack->wait_worker($role, $pid), "$role is the newer one, the others as before");
        $goes_on->($role, 30);
    }
};

subtest 'then the gateway' => sub {
    my $first = $stack->pid('nginx');
    replace_file("$run/modules/ngx_http_aegis_module.so", build_dir . '/ngx_http_aegis_module.so');
    kill 'USR2', $first;
    my $second = wait_for('the second master', 30, sub { my $p = eval { slurp("$run/pid/nginx.pid") =~ s/\s+//gr } // ''; $p =~ /^\d+$/ && $p != $first && $stack->children($p) == 2 ? $p : undef });
    ok($second, 'both gateways serve');
    $goes_on->('both gateways', 150);
    kill 'QUIT', $first;
    ok(wait_for('the first one to go', 30, sub { !alive($first) }), 'the older one has finished its requests and is gone');
    $goes_on->('the newer one alone', 60);
    is($stack->http->get('/readyz')->status, 200, 'and ready');
};

$load->stop;
my @bad = $load->bad;
is(scalar @bad, 0, 'every request ended as it should') or diag(json_encode($_)) for @bad[0 .. ($#bad < 2 ? $#bad : 2)];
is($load->count(sub { $_->{status} =~ /^5/ }), 0, sprintf 'no answer of %d was 5xx', $load->count(sub { $_->{status} }));
ok(wait_for('the cases to be closed', 90, sub { $pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE mode = 'auto' AND status <> 'CLOSED'}) == 0 }),
    $pg->one(q{SELECT count(*) FROM aegis.ops_case WHERE mode = 'auto'}) . ' cases that the workers drive are CLOSED')
    or diag(map { json_encode($_) . "\n" } @{ $pg->rows(q{SELECT status, count(*) AS n, max(reason) AS reason FROM aegis.ops_case WHERE mode = 'auto' GROUP BY 1}) });
$stack->quiet(60);
my $inv = Aegis::Invariants->new($pg->connect);
$load->settle($inv);
$inv->bus_nats($stack->nats);
$inv->check;
is($pg->one('SELECT count(*) FROM aegis.dead_letter'), 0, 'no message became a dead letter');
done_testing;
