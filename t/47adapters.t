# 47adapters.t: k8s.* and gateway.shift as steps of a plan: a case that changes a
# workload and shifts traffic to its end; one that fails half way is taken back
# and parked. An installation of its own, whose executor knows both.
use v5.36;
use lib 't/lib';
use Test::More;
use Aegis::Case;
use Aegis::Front;
use Aegis::Kube;
use Aegis::Stack;
use Aegis::Test;

skip_unless('nginx', 'openssl');

my $k = Aegis::Kube->new->prepare;
my $image = 'registry.example.com/shop/web';
$k->workload('deployment', 'web', deadline => 2, replicas => 2);
my $front = Aegis::Front->new;
my $stack = Aegis::Stack->own('adapters', env => { ROLES => 'relay fsm gate exec verify',
    AEGIS_K8S_SERVER => $k->server, AEGIS_K8S_ACCOUNT_DIR => "$k->{dir}/account", AEGIS_K8S_NAMESPACES => 'shop', AEGIS_K8S_IMAGES => 'registry.example.com/shop',
    AEGIS_GATEWAY_NGINX => have('nginx') . " -c $front->{dir}/nginx.conf -p $front->{dir} -e $front->{dir}/error.log", AEGIS_GATEWAY_DIR => "$front->{dir}/splits",
    AEGIS_GATEWAY_SPLITS => 'shop=shop_green,shop_blue', AEGIS_GATEWAY_VERIFY_URL => "http://127.0.0.1:$front->{id}/" });
my $http = $stack->http;
# the executor may reload it: both are the same user
$front->start((stat $stack->run_dir . '/nats')[4, 5]);
$stack->policy("version: 1\nrules:\n  - {id: actions, kind: actions, allow: [k8s.set_image, k8s.rollback, gateway.shift]}\n");

sub change ($tag) {
    return { title => "shop $tag", kind => 'change', env => 'staging', risk_score => 0.1,
        steps => [ { name => 'a quarter', action => 'gateway.shift', params => { split => 'shop', weights => { shop_green => 25, shop_blue => 75 } } },
            { name => 'image', action => 'k8s.set_image', params => { namespace => 'shop', name => 'web', image => "$image:$tag" }, timeout_s => 60 } ],
        rollback => [ { action => 'k8s.rollback', params => { namespace => 'shop', name => 'web' } }, { action => 'gateway.shift', params => { split => 'shop' } } ],
        verify => [ { kind => 'exec' } ] };
}

sub steps ($exec) { return map { "$_->{phase} $_->{step_no} $_->{state}" } @{ $http->get("/exec/$exec")->json->{steps} } }
sub image () { return $k->get('deployment', 'web')->{spec}{template}{spec}{containers}[0]{image} }

my $c = Aegis::Case->create($http, mode => 'manual')->drive('CLOSED', plan => change(2));
is(join(', ', steps($c->{exec_id})), 'step 1 OK, step 2 OK', 'both steps are done, and the case is closed');
is(image(), "$image:2", 'the workload has its image');
like($front->file, qr/25\.00%  shop_green/, 'nginx its weights');

my $before = $front->file =~ /"weights":(\{[^}]*\})/ ? $1 : '';
$c = Aegis::Case->create($http, mode => 'manual')->drive('EXECUTING', plan => change('broken'));
my $exec = $c->post('/adapter/exec')->json->{exec_id};
my $j = $c->wait_state('PARKED', 60);
ok($j, 'an image that never becomes ready parks the case');
like($j->{reason} // '', qr/progressDeadlineExceeded/, 'with its reason') or diag explain $j;
is(join(', ', steps($exec)), 'step 1 OK, step 2 FAILED, rollback 1 OK, rollback 2 OK', 'the rollback ran');
is(image(), "$image:2", 'the workload is as before the run');
like($front->file, qr/"weights":\Q$before\E/, 'and the traffic');

$stack->finish;
done_testing;
