# 44k8s.t: the actions k8s.* on a Kubernetes API, with the rights of
# deploy/k8s/rbac.yaml and no others. The API is the real kube-apiserver with its
# controllers where AEGIS_T_KUBE names them (make k8s-test), else the stand-in
# that 43kube_standin.t holds to recordings of the real one.
use v5.36;
use lib 't/lib';
use Test::More;
use JSON::PP ();
use Aegis::Kube;
use Aegis::Test;

skip_unless('openssl', build_dir . '/t/act/act');

my $k = Aegis::Kube->new->prepare;
diag('on ' . ($k->real ? 'the real kube-apiserver ' . ($k->must('GET', '/version')->{gitVersion} // '') : 'the stand-in'));
my $run = 0;
sub exec_id { return sprintf '00000000-0000-4000-8000-%012d', ++$run }
sub template ($d) { return $d->{spec}{template} }
sub image ($d) { return template($d)->{spec}{containers}[0]{image} }
my $image = 'registry.example.com/shop/web';
my @kinds = qw(deployment statefulset daemonset);
$k->workload($_, "web-$_") for @kinds;

subtest 'restart' => sub {
    for my $kind (@kinds) {
        my $before = $k->get($kind, "web-$kind");
        my $r = $k->act('rollout_restart', { name => "web-$kind", kind => $kind }, 'exec-id' => exec_id);
        is($r->{state}, 'OK', "a $kind is restarted") or diag explain $r;
        cmp_ok($r->{slowest_ms}, '<', is_san ? 1000 : 200, 'no call of the adapter waited');
        my $after = $k->get($kind, "web-$kind");
        ok(template($after)->{metadata}{annotations}{'kubectl.kubernetes.io/restartedAt'}, 'its pods are of a new template');
        is($after->{status}{observedGeneration}, $after->{metadata}{generation}, 'which its controller has seen');
        is($after->{metadata}{generation}, $before->{metadata}{generation} + 1, 'it was changed once');
        like($r->{stdout}, qr/restarts its pods\n.*updated/s, 'the output tells it');
        is($r->{result}{kind}, $kind, 'the result says what it was');
    }
    is($k->act('rollout', { name => 'web-deployment' }, 'exec-id' => exec_id)->{state}, 'OK', 'k8s.rollout is the same');
};

subtest 'image, and back' => sub {
    # the stand-in's daemonset differs from its statefulset in nothing that this looks at
    for my $kind ($k->real ? @kinds : @kinds[0, 1]) {
        my $id = exec_id;
        my $before = $k->get($kind, "web-$kind");
        my $r = $k->act('set_image', { name => "web-$kind", kind => $kind, image => "$image:2" }, 'exec-id' => $id);
        is($r->{state}, 'OK', "an image of a $kind") or diag explain $r;
        is(image($k->get($kind, "web-$kind")), "$image:2", 'is set');
        is($k->act('set_image', { name => "web-$kind", kind => $kind, image => "$image:3" }, 'exec-id' => $id, step => 2)->{state}, 'OK', 'and another one in the same run');
        $k->act('scale', { name => "web-$kind", kind => $kind, replicas => 2 }, 'exec-id' => $id, step => 3) if $kind ne 'daemonset';
        $r = $k->act('rollback', { name => "web-$kind", kind => $kind }, 'exec-id' => $id, phase => 'rollback');
        is($r->{state}, 'OK', "the run is taken back") or diag explain $r;
        my $after = $k->get($kind, "web-$kind");
        is_deeply(template($after), template($before), 'to the template of before, not of its last step');
        is($after->{spec}{replicas}, $before->{spec}{replicas}, 'and its replicas');
        $r = $k->act('rollback', { name => "web-$kind", kind => $kind }, 'exec-id' => exec_id, phase => 'rollback');
        is($r->{state}, 'OK', 'a run that has changed nothing takes nothing back');
        is_deeply(template($k->get($kind, "web-$kind")), template($after), 'nothing');
        $r = $k->act('rollback', { name => "web-$kind", kind => $kind }, 'exec-id' => exec_id);
        is($r->{state}, 'OK', 'a step k8s.rollback') or diag explain $r;
        is(image($k->get($kind, "web-$kind")), "$image:3", 'goes to the revision before');
        $r = $k->act('rollback', { name => "web-$kind", kind => $kind, to_revision => 99 }, 'exec-id' => exec_id);
        ok($r->{state} eq 'FAILED' && $r->{final} && $r->{error} =~ /no revision 99/, 'a revision that is not there is refused') or diag explain $r;
    }
};

subtest 'scale' => sub {
    for my $kind (qw(deployment statefulset)) {
        for my $n ($k->real ? (5, 1, 0, 3) : (4, 0, 3)) {
            my $r = $k->act('scale', { name => "web-$kind", kind => $kind, replicas => $n + 0 }, 'exec-id' => exec_id);
            is($r->{state}, 'OK', "a $kind to $n") or diag explain $r;
            is($k->get($kind, "web-$kind")->{status}{replicas} // 0, $n, 'has them');
        }
    }
    my $g = $k->get('deployment', 'web-deployment')->{metadata}{generation};
    my $r = $k->act('scale', { name => 'web-deployment', replicas => 3 }, 'exec-id' => exec_id);
    is($r->{state}, 'OK', 'to what it is');
    is($k->get('deployment', 'web-deployment')->{metadata}{generation}, $g, 'changes nothing');
};

subtest 'what is refused' => sub {
    my $before = $k->get('deployment', 'web-deployment')->{metadata}{resourceVersion};
    $k->workload('deployment', 'two', containers => 2);
    $k->workload('deployment', 'paused', replicas => 1);
    $k->must('PATCH', '/apis/apps/v1/namespaces/shop/deployments/paused', { spec => { paused => JSON::PP::true() } }, type => 'application/merge-patch+json');
    $k->settled('deployment', 'paused');
    my @cases = (
        ['rollout_restart', { name => 'nobody' },                          qr/^404: namespace shop has no deployments nobody$/],
        ['rollout_restart', { name => 'web-deployment', namespace => 'other' },  qr/namespace other is not in k8s\.namespaces/],
        ['rollout_restart', { name => 'web..x' },                          qr/no name of Kubernetes/],
        ['rollout_restart', { name => 'paused' },                          qr/paused: resume it first/],
        ['scale', { name => 'web-deployment', replicas => 7 },             qr/more than k8s\.replicas_max/],
        ['set_image', { name => 'two', image => "$image:2" },              qr/several containers/],
        ['set_image', { name => 'two', image => "$image:2", container => 'c9' }, qr/no container c9/],
        ['set_image', { name => 'web-deployment', image => 'evil.example.com/x' }, qr/not in k8s\.images/],
        ['set_image', { name => 'web-deployment', image => 'registry.example.com/shop-evil/web:1' }, qr/not in k8s\.images/],
        ['set_image', { name => 'web-deployment', image => 'registry.example.com/shop/../x:1' }, qr/not in k8s\.images/],
    );
    for my $c (@cases) {
        my $r = $k->act(@$c[0, 1], 'exec-id' => exec_id);
        ok($r->{state} eq 'FAILED' && $r->{final} && $r->{error} =~ $c->[2], "$c->[0]: " . json_encode($c->[1])) or diag explain $r;
    }
    is($k->get('deployment', 'web-deployment')->{metadata}{resourceVersion}, $before, 'nothing was changed');
    my $r = $k->act('set_image', { name => 'two', image => "$image:2", container => 'c2' }, 'exec-id' => exec_id);
    is($r->{state}, 'OK', 'a container by its name');
    is_deeply([ map { $_->{image} } @{ $k->get('deployment', 'two')->{spec}{template}{spec}{containers} } ], ["$image:1", "$image:2"], 'and it alone');
};

subtest 'credentials' => sub {
    my $scale = { name => 'web-deployment', replicas => 3 };
    spew("$k->{dir}/token", "admin-token\n");
    for my $c (['token' => token => 'admin-token'], ['tokenFile' => tokenFile => "$k->{dir}/token"],
        ['certificate' => 'client-certificate' => "$k->{dir}/client.crt", 'client-key' => "$k->{dir}/client.key"])
    {
        my ($name, %user) = @$c;
        spew("$k->{dir}/$name.kubeconfig", $k->kubeconfig(%user));
        my $r = $k->act('scale', $scale, conf => $k->conf($name, kubeconfig => "$k->{dir}/$name.kubeconfig"), 'exec-id' => exec_id);
        is($r->{state}, 'OK', "a kubeconfig with a $name") or diag explain $r;
    }
    my @bad = (
        [{ token => 'wrong' },                       undef, qr/^401: .* does not know our credential/],
        [{ token => 'weak-token' },                  undef, qr/^403: grant the verb "get" on apps\/deployments in namespace shop to weak$/],
        [{ token => 'a', exec => 'x' },              undef, qr/"exec", which is not supported/],
        [{ username => 'a' },                        undef, qr/"username", which is not supported/],
        [{ tokenFile => "$k->{dir}/nowhere" },       undef, qr/No such file/],
        [{ 'client-certificate' => "$k->{dir}/client.crt" }, undef, qr/neither a token/],
        [{ token => 'admin-token' }, sub { s/certificate-authority: .*/insecure-skip-tls-verify: true/ }, qr/insecure-skip-tls-verify, which is not accepted/],
        [{ token => 'admin-token' }, sub { s/certificate-authority: .*/certificate-authority: client.crt/ }, qr/(?i:certificate)/],
        [{ token => 'admin-token' }, sub { s{127\.0\.0\.1}{localhost} }, qr/(?i:certificate|SSL).*localhost/],
        [{ token => 'admin-token' }, sub { s{https:}{http:} }, qr/no https/],
    );
    for my $c (@bad) {
        my ($user, $edit, $like) = @$c;
        local $_ = $k->kubeconfig(%$user);
        $edit->() if $edit;
        spew("$k->{dir}/bad.kubeconfig", $_);
        my $r = $k->act('scale', $scale, conf => $k->conf('bad', kubeconfig => "$k->{dir}/bad.kubeconfig", request_timeout_s => 2), 'exec-id' => exec_id);
        ok($r->{state} eq 'FAILED' && $r->{error} =~ $like, "refused: $like") or diag explain $r;
        unlike(json_encode($r), qr/admin-token|weak-token/, 'and no secret is told');
    }
    # the rights are the least: one less, and the step says which
    my $old = $k->must('GET', '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/aegis-executor');
    for my $c (['get', 'deployments', 'rollout_restart'], ['patch', 'deployments', 'rollout_restart'], ['list', 'replicasets', 'rollback']) {
        my ($verb, $resource, $action) = @$c;
        my $new = json_decode(json_encode($old));
        for my $rule (@{ $new->{rules} }) {
            $rule->{verbs} = [ grep { $_ ne $verb } @{ $rule->{verbs} } ] if grep { $_ eq $resource } @{ $rule->{resources} };
        }
        $new->{rules} = [ grep { @{ $_->{verbs} } } @{ $new->{rules} } ];
        delete $new->{metadata}{resourceVersion};
        $k->must('PUT', '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/aegis-executor', $new);
        my $r;
        wait_for('the right to be gone', 10, sub {
            $r = $k->act($action, { name => 'web-deployment' }, 'exec-id' => exec_id);
            return $r->{state} ne 'OK';
        });
        is($r->{error}, "403: grant the verb \"$verb\" on apps/$resource in namespace shop to system:serviceaccount:aegis:aegis-executor", "without $verb on $resource");
        ok($r->{final}, 'trying again is no use');
    }
    delete $old->{metadata}{resourceVersion};
    $k->must('PUT', '/apis/rbac.authorization.k8s.io/v1/namespaces/shop/roles/aegis-executor', $old);
    wait_for('the rights to be back', 10, sub { $k->act('scale', $scale, 'exec-id' => exec_id)->{state} eq 'OK' });
};

subtest 'a token that is replaced' => sub {
    my $good = slurp("$k->{dir}/account/token");
    spew_into("$k->{dir}/account/token", "expired\n");
    my $p = $k->act('scale', { name => 'web-deployment', replicas => 4 }, later => 1, 'exec-id' => exec_id);
    spew_into("$k->{dir}/account/token", $good);
    is(Aegis::Kube::answer($p)->{state}, 'OK', 'is read again');
    $k->act('scale', { name => 'web-deployment', replicas => 3 }, 'exec-id' => exec_id);
};

subtest 'a rollout that does not end' => sub {
    my $id = exec_id;
    my $before = $k->workload('deployment', 'slow', replicas => 2, deadline => 2);
    my $r = $k->act('set_image', { name => 'slow', image => "$image:broken" }, 'exec-id' => $id, 'timeout-ms' => 30000);
    ok($r->{state} eq 'FAILED' && $r->{final}, 'fails when its deadline is over') or diag explain $r;
    like($r->{error}, qr/^progressDeadlineExceeded: .* \(\d of 2 updated/, 'and says how far it came');
    $r = $k->act('rollback', { name => 'slow' }, 'exec-id' => $id, phase => 'rollback');
    is($r->{state}, 'OK', 'the old deadline does not fail the rollback') or diag explain $r;
    is_deeply(template($k->get('deployment', 'slow')), template($before), 'which restores it');

    $r = $k->act('set_image', { name => 'web-deployment', image => "$image:broken" }, 'exec-id' => $id, step => 2, 'timeout-ms' => 1500);
    is($r->{state}, 'TIMEOUT', 'its own timeout is shorter');
    like($r->{error}, qr/^timed out after 2 s: the change is made and goes on by itself: .*of 3 pods/, 'and it says what is left');
    $r = $k->act('set_image', { name => 'web-statefulset', kind => 'statefulset', image => "$image:broken" }, 'exec-id' => $id, step => 3, 'cancel-at' => 'pods updated');
    ok($r->{state} eq 'FAILED' && $r->{cancelled}, 'it can be stopped');
    like($r->{error}, qr/^stopped: the change is made and goes on by itself/, 'with what is left');
    $k->act('rollback', { name => 'web-deployment' }, 'exec-id' => $id, phase => 'rollback');
    is($k->act('set_image', { name => 'web-statefulset', kind => 'statefulset', image => "$image:3" }, 'exec-id' => $id, step => 4, 'timeout-ms' => 2000)->{state} =~ /OK|TIMEOUT/, 1, 'a statefulset goes on');
};

subtest 'an executor that dies' => sub {
    my %step = ('exec-id' => exec_id);
    my $g = $k->settled('deployment', 'web-deployment')->{metadata}{generation};
    is($k->act('rollout_restart', { name => 'web-deployment' }, %step, 'die-at' => 'restarts its pods')->{state}, 'DEAD', 'killed after its change');
    my $r = $k->act('rollout_restart', { name => 'web-deployment' }, %step, mode => 'recover');
    is($r->{state}, 'OK', 'another one waits for what was begun') or diag explain $r;
    like($r->{stdout}, qr/this step has been applied before/, 'and says so');
    is($k->act('rollout_restart', { name => 'web-deployment' }, %step, attempt => 2)->{state}, 'OK', 'even a second attempt');
    is($k->get('deployment', 'web-deployment')->{metadata}{generation}, $g + 1, 'changes it once');
    $r = $k->act('rollout_restart', { name => 'web-deployment' }, 'exec-id' => exec_id, mode => 'recover');
    is($r->{state}, 'UNKNOWN', 'what was not begun is not begun by looking') or diag explain $r;
    is($k->get('deployment', 'web-deployment')->{metadata}{generation}, $g + 1, 'nothing was changed');
    my $slow = $k->act('rollout_restart', { name => 'web-deployment' }, %step, step => 2, later => 1);
    my @same = map { $k->act('rollout_restart', { name => 'web-deployment' }, %step, step => 2, later => 1) } 1 .. 3;
    is(join(' ', map { Aegis::Kube::answer($_)->{state} } $slow, @same), 'OK OK OK OK', 'four executors that all believe it is theirs');
    is($k->get('deployment', 'web-deployment')->{metadata}{generation}, $g + 2, 'change it once');
};

subtest 'conflicts' => sub {
    my $from = $k->get('deployment', 'web-deployment')->{metadata}{generation};
    my $noise = start_process('noise', [$^X, '-I' . root . '/t/lib', '-MAegis::Kube', '-e', 'Aegis::Kube::noise(@ARGV)', $k->{port}, $k->ca]);
    # on a busy machine four can come one after the other: on until two have met
    my @r;
    my $met = wait_for('a conflict', 60, sub {
        my @p = map { $k->act('scale', { name => 'web-deployment', replicas => $_ + 0 }, later => 1, 'exec-id' => exec_id, metrics => 1) } 4, 5, 4, 5;
        push @r, map { Aegis::Kube::answer($_) } @p;
        return grep { ($_->{metrics} // '') =~ /code="409"\} [1-9]/ } @r;
    });
    stop_process($noise, 'KILL');
    ok(!(grep { $_->{state} !~ /^(OK|FAILED)$/ || $_->{state} eq 'FAILED' && $_->{error} !~ /409/ } @r), 'changes at once while somebody else writes all the time') or diag explain \@r;
    cmp_ok(scalar(grep { $_->{state} eq 'OK' } @r), '>=', 1, 'get through');
    ok($met, 'with 409 on the way');
    $k->act('scale', { name => 'web-deployment', replicas => 3 }, 'exec-id' => exec_id);
};

subtest 'a dry run' => sub {
    my $before = $k->get('deployment', 'web-deployment');
    my $r = $k->act('set_image', { name => 'web-deployment', image => "$image:9" }, mode => 'check', 'exec-id' => exec_id);
    is($r->{state}, 'OK', 'asks the API') or diag explain $r;
    like($r->{stdout}, qr/would be changed: image of c1 from \S+ to \S+:9/, 'says what would be');
    is($k->get('deployment', 'web-deployment')->{metadata}{generation}, $before->{metadata}{generation}, 'and nothing is');
    $r = $k->act('set_image', { name => 'nobody', image => "$image:9" }, mode => 'check', 'exec-id' => exec_id);
    like($r->{error}, qr/^404/, 'what would be refused is');
};

# what only a stand-in does on request
subtest 'an API that falters' => sub {
    plan skip_all => 'the real one does not falter on request' if $k->real;
    my $fault = sub (@f) { $k->must('PUT', '/_faults', [@f]) };
    my $scale = sub ($n, %o) { $k->act('scale', { name => 'web-deployment', replicas => $n + 0 }, 'exec-id' => exec_id, metrics => 1, %o) };
    my $g = sub { $k->get('deployment', 'web-deployment')->{metadata}{generation} };
    my $from = $g->();
    $fault->({ method => 'PATCH', n => 1, drop => 'after' });
    my $r = $scale->(4);
    is($r->{state}, 'OK', 'an answer that is lost') or diag explain $r;
    is($g->(), $from + 1, 'does not make the change twice');
    $fault->({ method => 'PATCH', n => 1, drop => 'before' }, { method => 'GET', n => 2, status => 503 });
    is($scale->(5)->{state}, 'OK', 'a request that is lost, and 503');
    is($g->(), $from + 2, 'is made once');
    $fault->({ method => 'GET', n => 1, status => 429, retry_after => 1 });
    $r = $scale->(4);
    is($r->{state}, 'OK', 'with 429 and Retry-After it');
    cmp_ok($r->{ms}, '>=', 1000, 'waits as long as it is told');
    like($r->{metrics}, qr/verb="get",code="429"\} 1$/m, 'and is counted');
    $fault->({ method => 'GET', n => 99, status => 500, text => 1 });
    $r = $scale->(5, 'timeout-ms' => 2000);
    ok($r->{state} eq 'TIMEOUT' && $r->{error} =~ /nothing was changed/ && $r->{stdout} =~ /^(500 at get of deployments web-deployment: .*again in a moment\n){3,}/, 'an API that is down is asked again, and nothing was changed') or diag explain $r;
    $fault->({ method => 'PATCH', n => 99, drop => 'after' }, { method => 'GET', n => 0, status => 500 });
    $r = $scale->(5, 'cancel-at' => 'nothing');
    is($r->{state}, 'OK', 'answers that are always lost: what was changed is seen');
    $fault->();
    $scale->(3);
};

subtest 'deleted meanwhile' => sub {
    $k->workload('deployment', 'gone', replicas => 2);
    my $p = $k->act('set_image', { name => 'gone', image => "$image:broken" }, later => 1, 'exec-id' => exec_id);
    wait_for('the change', 20, sub { image($k->get('deployment', 'gone')) =~ /broken/ });
    $k->must('DELETE', '/apis/apps/v1/namespaces/shop/deployments/gone');
    like(Aegis::Kube::answer($p)->{error}, qr/^404: namespace shop has no deployments gone/, 'is seen');
};

done_testing;
