# 47objects.t: outputs in a bucket. They are put while the step runs, signed with
# AWS Signature Version 4, and again when it is over; then the file here goes.
# A store that is away costs no step, and is caught up with when it is back, also
# by an executor that is started later; a wrong secret is refused and seen.
use v5.36;
use lib 't/lib';
use JSON::PP ();
use Test::More;
use Aegis::Case;
use Aegis::S3;
use Aegis::Stack;
use Aegis::Test;

my $stack = Aegis::Stack->shared;
my $http = $stack->http;
my $pg = $stack->pg;
my $s3 = Aegis::S3->new;
my $dir = scratch('objects');
my $spool = "$dir/spool";
mkdir $spool;
spew("$dir/good", "$s3->{access}:$s3->{secret}\n");
spew("$dir/bad", "$s3->{access}:another\n");

my $sleeper = $stack->pid('exec');
kill 'STOP', $sleeper;
END { my $rc = $?; kill 'CONT', $sleeper if $sleeper; $? = $rc }

my ($exec, $metrics);
sub executor (%set) {
    stop_process($exec) if $exec;
    my $port = free_port();
    $metrics = Aegis::Http->new(url => "http://127.0.0.1:$port");
    $exec = start_process('s3-exec', [build_dir . '/aegis-worker', '-c', $stack->run_dir . '/conf/aegis.yaml', 'exec'], env => { san_env,
        AEGIS_METRICS_LISTEN => "127.0.0.1:$port", AEGIS_EXEC_OBJECT_DIR => $spool, AEGIS_STORE_KIND => 's3', AEGIS_STORE_S3_ENDPOINT => $s3->{endpoint},
        AEGIS_STORE_S3_BUCKET => $s3->{bucket}, AEGIS_STORE_S3_REGION => $s3->{region}, AEGIS_STORE_S3_PREFIX => 'runs/', AEGIS_STORE_S3_CREDENTIALS_FILE => "$dir/good", %set });
}

$stack->add_script('t-slowly.sh', "#!/bin/sh\n# talks until it is told to stop\necho begin\nn=0\nwhile [ ! -e $dir/stop ] && [ \$n -lt 600 ]; do sleep 0.1; n=\$((n + 1)); done\necho end; echo warned >&2\n");

sub begin (@steps) {
    my $c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => { steps => \@steps });
    return $c->post('/adapter/exec')->json->{exec_id};
}
sub over ($id) { return wait_for('the run to end', 60, sub { my $r = $http->get("/exec/$id")->json; $r->{finished_at} ? $r : undef }) // die "the run does not end\n" }
sub slowly () { return { name => 'slowly', action => 'script.exec', params => { script => 't-slowly.sh' } } }
# more than is kept with the step itself
my $LONG = '.' x 3000;
sub say_it ($text) { return { name => 'say', action => 'echo', params => { message => $text . $LONG } } }

subtest 'while it runs and when it is over' => sub {
    executor();
    my $id = begin(slowly());
    my $key = "runs/$id/step-1-1.out";
    ok(wait_for('the object', 20, sub { ($s3->object($key) // '') eq "begin\n" }), 'what it has written so far is in the bucket');
    is($http->get("/exec/$id")->json->{state}, 'RUNNING', 'while the step runs');
    spew("$dir/stop", '');
    my $run = over($id);
    my ($s) = @{ $run->{steps} };
    is($s->{state}, 'OK', 'the step ends');
    ok(wait_for('the rest', 20, sub { ($s3->object($key) // '') eq "begin\nend\n" && ($s3->object($key =~ s/out$/err/r) // '') eq "warned\n" }), 'and all of it is there');
    is($s->{output}{stdout}{bucket}, $s3->{bucket}, 'the reference says in which bucket');
    is($s->{output}{stdout}{key}, $key, 'and under which key');
    my $l = $pg->row('SELECT bucket, object_key, bytes FROM aegis.oo_locator WHERE locator_id = ?', $s->{output}{stdout}{locator_id});
    is_deeply($l, { bucket => $s3->{bucket}, object_key => $key, bytes => 10 }, 'and oo_locator too');
    ok(wait_for('the files to go', 10, sub { !glob "$spool/$id/*.out $spool/$id/*.err" || !grep { -e } glob "$spool/$id/*.{out,err}" }), 'the files here are gone');
    is_deeply([$s3->refused], [], 'nothing was refused');
    like($metrics->get('/metrics')->body, qr/^aegis_store_puts_total\{outcome="ok"\} [1-9]/m, 'and it is counted');
};

subtest 'a store that is away' => sub {
    plan skip_all => 'a real server is not ours to stop' if $s3->{real};
    $s3->mode('down');
    my $id = begin(say_it('kept'));
    is(over($id)->{state}, 'DONE', 'costs no step');
    ok(wait_for('a failure to be counted', 10, sub { $metrics->get('/metrics')->body =~ /^aegis_store_puts_total\{outcome="failed"\} [1-9]/m }), 'is counted');
    ok(-s "$spool/$id/step-1-1.out", 'and the file stays');
    $s3->mode('');
    ok(wait_for('the object', 30, sub { ($s3->object("runs/$id/step-1-1.out") // '') eq "kept$LONG\n" }), 'until it is back');
    $s3->mode('down');
    my $two = begin(say_it('later'));
    is(over($two)->{state}, 'DONE', 'another run');
    is(stop_process($exec, 'TERM', 25), 0, 'whose executor is stopped meanwhile');
    ok(-s "$spool/$two/step-1-1.out", 'leaves its file');
    $s3->mode('');
    executor();
    ok(wait_for('the object', 30, sub { ($s3->object("runs/$two/step-1-1.out") // '') eq "later$LONG\n" }), 'for the next executor to put');
};

subtest 'a wrong secret' => sub {
    executor(AEGIS_STORE_S3_CREDENTIALS_FILE => "$dir/bad");
    my $id = begin(say_it('nobody'));
    is(over($id)->{state}, 'DONE', 'costs no step either');
    ok(wait_for('the refusal to be logged', 20, sub { slurp($exec->{log}) =~ /put\.failed.*(?:SignatureDoesNotMatch|403)/ }), 'is refused, which the log says');
    is($s3->object("runs/$id/step-1-1.out"), undef, 'and nothing is stored');
    executor(AEGIS_STORE_S3_CREDENTIALS_FILE => "$dir/none");
    ok(wait_for('the executor to say so', 15, sub { slurp($exec->{log}) =~ /store\.s3\.credentials_file/ }), 'a file of secrets that is not there is said');
    my $all = slurp($exec->{log});
    ok(index($all, $s3->{secret}) < 0, 'no secret is logged');
    stop_process($exec);
};

kill 'CONT', $sleeper;
$stack->finish;
done_testing;
