# Aegis::KubeRecord: requests in a row and what a Kubernetes API answers to them,
# without what differs each time (ids, times, hashes) and defaults that nobody
# here reads. walk() on the real one makes t/data/kube/api.json (make k8s-record);
# on the stand-in it has to give the same, so that the stand-in cannot drift.
package Aegis::KubeRecord;

use v5.36;
use Aegis::Kube;
use Aegis::Test;

my $S = 'application/strategic-merge-patch+json';
my $J = 'application/json-patch+json';
my $M = 'application/merge-patch+json';
my $apps = '/apis/apps/v1/namespaces/shop';
my $image = 'registry.example.com/shop/web';

# What we read of an answer.
sub reduce ($doc) {
    return $doc if ref $doc ne 'HASH';
    if (($doc->{kind} // '') eq 'Status') { return { map { $_ => $doc->{$_} } grep { defined $doc->{$_} } qw(kind status reason message code) } }
    if (($doc->{kind} // '') =~ /List$/) {
        return { kind => $doc->{kind}, items => [ sort { ($a->{revision} // 0) <=> ($b->{revision} // 0) } map { entry($_) } @{ $doc->{items} } ] };
    }
    my ($m, $s, $st) = @$doc{qw(metadata spec status)};
    my %out = (kind => $doc->{kind}, name => $m->{name}, namespace => $m->{namespace}, generation => $m->{generation}, annotations => $m->{annotations} // {}, template => template($s->{template}));
    $out{replicas} = $s->{replicas} if defined $s->{replicas};
    $out{status} = { map { $_ => $st->{$_} } grep { $st->{$_} } qw(observedGeneration replicas updatedReplicas readyReplicas availableReplicas desiredNumberScheduled updatedNumberScheduled numberAvailable) };
    $out{at_revision} = $st->{currentRevision} eq $st->{updateRevision} ? 1 : 0 if $st->{updateRevision};
    # names that end in a hash of the template
    $out{conditions} = { map { $_->{type} => { status => $_->{status}, reason => $_->{reason}, message => ($_->{message} // '') =~ s/"([\w-]+?)-\w+"/"$1-HASH"/r } } grep { $_->{type} eq 'Progressing' } @{ $st->{conditions} // [] } } if $doc->{kind} eq 'Deployment';
    return \%out;
}

sub template ($t) {
    return { annotations => $t->{metadata}{annotations} // {}, labels => { map { $_ => $_ eq 'pod-template-hash' ? 'HASH' : $t->{metadata}{labels}{$_} } keys %{ $t->{metadata}{labels} // {} } },
        containers => [ map { { name => $_->{name}, image => $_->{image} } } @{ $t->{spec}{containers} // [] } ] };
}

# One revision of a history.
sub entry ($d) {
    my $a = $d->{metadata}{annotations} // {};
    my $t = $d->{spec}{template} // $d->{data}{spec}{template} // {};
    my $owner = $d->{metadata}{ownerReferences}[0] // {};
    return { revision => ($a->{'deployment.kubernetes.io/revision'} // $d->{revision} // 0) + 0, before => $a->{'deployment.kubernetes.io/revision-history'} // '',
        replace => $t->{'$patch'} // '', template => template($t), owner => { kind => $owner->{kind}, name => $owner->{name}, controller => $owner->{controller} ? 1 : 0, uid => $owner->{uid} ? 1 : 0 } };
}

# The steps: [name, status, what we read].
sub walk ($k) {
    my @out;
    my $note = sub ($name, $status, $doc) { push @out, { step => $name, status => $status, answer => reduce($doc) } };
    my $call = sub ($name, @r) { my ($status, $doc) = $k->call(@r); $note->($name, $status, $doc); return $doc };
    my $settled = sub ($name, $kind, $w) { $note->($name, 200, $k->settled($kind, $w)) };
    $k->workload('deployment', 'web', deadline => 2, replicas => 2);
    my $d = "$apps/deployments/web";
    $settled->('a deployment is rolled out', 'deployment', 'web');
    my $rv = $k->get('deployment', 'web')->{metadata}{resourceVersion};

    $call->('an image in a dry run', 'PATCH', "$d?dryRun=All", { spec => { template => { spec => { containers => [ { name => 'c1', image => "$image:2" } ] } } } }, type => $S);
    $settled->('changes nothing', 'deployment', 'web');
    $call->('an image', 'PATCH', $d, { metadata => { resourceVersion => $rv, annotations => { 'aegis.ops/run' => 'r' } }, spec => { template => { spec => { containers => [ { name => 'c1', image => "$image:2" } ] } } } }, type => $S);
    $settled->('is rolled out', 'deployment', 'web');
    $call->('a strategic merge of an old version', 'PATCH', $d, { metadata => { resourceVersion => $rv }, spec => { replicas => 5 } }, type => $S);
    $call->('a JSON patch of an old version', 'PATCH', $d, [ { op => 'replace', path => '/metadata/resourceVersion', value => $rv }, { op => 'add', path => '/spec/replicas', value => 5 } ], type => $J);
    $call->('a merge that changes nothing', 'PATCH', $d, { metadata => { annotations => { 'aegis.ops/run' => 'r' } } }, type => $M);
    $call->('an annotation alone', 'PATCH', $d, { metadata => { annotations => { 'aegis.ops/run' => 's' } } }, type => $S);
    $settled->('is a generation of a deployment', 'deployment', 'web');
    $call->('a negative number of replicas', 'PATCH', $d, { spec => { replicas => -1 } }, type => $S);
    $call->('five replicas', 'PATCH', $d, { spec => { replicas => 5 } }, type => $S);
    $settled->('are there', 'deployment', 'web');
    $call->('its history', 'GET', "$apps/replicasets?limit=500&labelSelector=app%3Dweb", undef);

    my ($first) = grep { $_->{metadata}{annotations}{'deployment.kubernetes.io/revision'} eq '1' } @{ $k->must('GET', "$apps/replicasets?labelSelector=app%3Dweb")->{items} };
    delete $first->{spec}{template}{metadata}{labels}{'pod-template-hash'};
    $rv = $k->get('deployment', 'web')->{metadata}{resourceVersion};
    $call->('the template of revision 1 by JSON patch', 'PATCH', $d, [ { op => 'replace', path => '/metadata/resourceVersion', value => $rv }, { op => 'replace', path => '/spec/template', value => $first->{spec}{template} } ], type => $J);
    $settled->('is rolled out as revision 3', 'deployment', 'web');
    $call->('and says what it was', 'GET', "$apps/replicasets?labelSelector=app%3Dweb", undef);

    $call->('an image that never becomes ready', 'PATCH', $d, { spec => { template => { spec => { containers => [ { name => 'c1', image => "$image:broken" } ] } } } }, type => $S);
    my $last;
    wait_for('the deadline', 30, sub { $last = $k->get('deployment', 'web'); grep { $_->{reason} eq 'ProgressDeadlineExceeded' } @{ $last->{status}{conditions} } });
    # how many old pods are left by then is the rolling update's business
    my @count = qw(replicas updatedReplicas readyReplicas availableReplicas);
    delete @{ $last->{status} }{@count};
    $note->('exceeds its deadline', 200, $last);
    ($last) = map { $_->[1] } [ $k->call('PATCH', $d, { spec => { template => { metadata => { annotations => { 'kubectl.kubernetes.io/restartedAt' => 'now' } }, spec => { containers => [ { name => 'c1', image => "$image:1" } ] } } } }, type => $S) ];
    delete @{ $last->{status} }{@count};
    $note->('a restart is answered with the old condition', 200, $last);
    $settled->('gets it going again', 'deployment', 'web');

    for my $kind (qw(statefulset daemonset)) {
        $k->workload($kind, "x-$kind", replicas => 2);
        my $p = "$apps/${kind}s/x-$kind";
        $settled->("a $kind is rolled out", $kind, "x-$kind");
        $call->("an image of a $kind", 'PATCH', $p, { metadata => { annotations => { 'aegis.ops/run' => 'r' } }, spec => { template => { spec => { containers => [ { name => 'c1', image => "$image:2" } ] } } } }, type => $S);
        $settled->('is rolled out', $kind, "x-$kind");
        $call->("an annotation alone of a $kind", 'PATCH', $p, { metadata => { annotations => { 'aegis.ops/run' => 's' } } }, type => $S);
        $call->('its history', 'GET', "$apps/controllerrevisions?labelSelector=app%3Dx-$kind", undef);
        my ($r) = sort { $a->{revision} <=> $b->{revision} } @{ $k->must('GET', "$apps/controllerrevisions?labelSelector=app%3Dx-$kind")->{items} };
        $call->("revision 1 of a $kind by its own patch", 'PATCH', $p, $r->{data}, type => $S);
        $settled->('is rolled out', $kind, "x-$kind");
        $call->('and is the newest of the history', 'GET', "$apps/controllerrevisions?labelSelector=app%3Dx-$kind", undef);
    }

    $call->('a deployment that is not there', 'GET', "$apps/deployments/nobody", undef);
    $call->('a patch of one', 'PATCH', "$apps/deployments/nobody", { spec => { replicas => 1 } }, type => $S);
    my ($status, $doc) = $k->call('GET', '/apis/nobody/v9/x', undef);
    push @out, { step => 'an address that nothing serves', status => $status, answer => ($doc->{kind} // '') eq 'Status' ? 'a Status' : 'no Status' };
    $call->("no right to $_->[0]", $_->[0], $_->[1], $_->[2], type => $S, token => 'weak-token') for ['GET', $d, undef], ['PATCH', $d, { spec => { replicas => 1 } }], ['GET', "$apps/replicasets", undef];
    $call->('a token that nobody knows', 'GET', $d, undef, token => 'wrong');
    my $account = $k->account_token;
    for my $r (['GET', $d, undef], ['PATCH', $d, { metadata => { annotations => { a => 'b' } } }], ['GET', "$apps/replicasets?labelSelector=app%3Dnobody", undef], ['DELETE', $d, undef],
        ['GET', "$apps/deployments", undef], ['PATCH', '/apis/apps/v1/namespaces/other/deployments/x', { spec => { replicas => 1 } }])
    {
        my ($code, $answer) = $k->call(@$r, type => $S, token => $account);
        push @out, { step => "the account of rbac.yaml: $r->[0] " . ($r->[1] =~ s/\?.*//r), status => $code, answer => $code < 300 ? 'granted' : reduce($answer) };
    }
    return \@out;
}

1;
