# Aegis::KubeControllers: what rolls workloads out behind Aegis::KubeStandIn: one
# small step a call, so that everything in between can be seen. A pod whose image
# says "broken" is never ready. There are two nodes for a daemonset.
package Aegis::KubeControllers;

use v5.36;
use Digest::SHA 'sha256_hex';
use Time::HiRes 'time';
use Aegis::Test;

my $REVISION = 'deployment.kubernetes.io/revision';
my (%pods, %progress);          # uid of a workload => { template hash => number, ... }

sub hash ($template) { return substr sha256_hex(json_encode($template)), 0, 10 }
sub broken ($template) { return scalar grep { $_->{image} =~ /broken/ } @{ $template->{spec}{containers} } }
sub copy ($v) { return json_decode(json_encode($v)) }
sub owner ($w) { return [ { controller => JSON::PP::true(), uid => $w->{metadata}{uid}, kind => $w->{kind}, name => $w->{metadata}{name} } ] }

sub bump ($w, $status) {
    return if json_encode($w->{status} // {}) eq json_encode($status);
    $w->{status} = $status;
    $w->{metadata}{resourceVersion} = '' . ++$Aegis::KubeStandIn::version;
}

sub step ($object) {
    for my $key (sort keys %$object) {
        my ($ns, $resource) = split m{/}, $key;
        my $w = $object->{$key};
        if ($resource eq 'deployments') { deployment($object, $ns, $w) }
        elsif ($resource eq 'statefulsets' || $resource eq 'daemonsets') { revisions($object, $ns, $w, $resource eq 'daemonsets') }
    }
}

# The ReplicaSet of the template, newest of the history; made when it is not there.
sub replicaset ($object, $ns, $w) {
    my $h = hash($w->{spec}{template});
    my @mine = grep { ($_->{kind} // '') eq 'ReplicaSet' && $_->{metadata}{ownerReferences}[0]{uid} eq $w->{metadata}{uid} } values %$object;
    my $max = 0;
    for (@mine) { my $r = $_->{metadata}{annotations}{$REVISION}; $max = $r if $r > $max }
    my $name = "$w->{metadata}{name}-$h";
    my $rs = $object->{"$ns/replicasets/$name"};
    if (!$rs) {
        my $template = copy($w->{spec}{template});
        $template->{metadata}{labels}{'pod-template-hash'} = $h;
        $rs = $object->{"$ns/replicasets/$name"} = { kind => 'ReplicaSet', metadata => { name => $name, namespace => $ns, uid => uuid(), labels => copy($template->{metadata}{labels}),
            ownerReferences => owner($w), annotations => { $REVISION => '' . ($max + 1) } }, spec => { template => $template } };
        $progress{ $w->{metadata}{uid} } = { since => time, reason => 'NewReplicaSetCreated' };
    }
    elsif ($rs->{metadata}{annotations}{$REVISION} < $max) {
        my $a = $rs->{metadata}{annotations};
        $a->{"$REVISION-history"} = join ',', grep { length } $a->{"$REVISION-history"} // '', $a->{$REVISION};
        $a->{$REVISION} = '' . ($max + 1);
    }
    return ($rs, $h);
}

sub deployment ($object, $ns, $w) {
    my $uid = $w->{metadata}{uid};
    my $p = $pods{$uid} //= {};
    my $want = $w->{spec}{replicas};
    my ($rs, $h);
    if (!$w->{spec}{paused}) {
        ($rs, $h) = replicaset($object, $ns, $w);
        $w->{metadata}{annotations}{$REVISION} = $rs->{metadata}{annotations}{$REVISION};
        my ($moved, $total) = (0, 0);
        $p->{$h} //= { n => 0, ready => 0, broken => broken($w->{spec}{template}) };
        $total += $_->{n} for values %$p;
        my $new = $p->{$h};
        for (values %$p) { if (!$_->{broken} && $_->{ready} < $_->{n}) { $_->{ready} = $_->{n}; $moved = 1 } }
        my $available = 0;
        $available += $_->{ready} for values %$p;
        if ($new->{n} > $want) { $new->{n} = $want; $new->{ready} = $want if $new->{ready} > $want; $moved = 1 }
        elsif ($new->{n} < $want && $total < $want + 1) { $new->{n}++; $moved = 1 }
        for my $o (grep { $_ ne $h } keys %$p) {
            my $x = $p->{$o};
            if ($x->{n} > $x->{ready} || $x->{n} > 0 && ($available > $want || $total > $want && $available > $want - 1 || $want == 0)) { $x->{n}--; $x->{ready} = $x->{n} if $x->{ready} > $x->{n}; $moved = 1; last }
            delete $p->{$o} if $x->{n} == 0;
        }
        my $g = $progress{$uid} //= { since => time, reason => 'NewReplicaSetAvailable' };
        if ($moved) { @$g{qw(since reason at)} = (time, 'ReplicaSetUpdated', undef) }
    }
    my %n = (n => 0, ready => 0);
    for my $x (values %$p) { $n{$_} += $x->{$_} for qw(n ready) }
    my $new = $h ? $p->{$h} : undef;
    my $g = $progress{$uid} //= { since => time, reason => 'DeploymentPaused' };
    if ($new && $new->{n} == $want && $n{n} == $want && $new->{ready} == $want) { $g->{reason} = 'NewReplicaSetAvailable' }
    elsif ($new && time - $g->{since} > $w->{spec}{progressDeadlineSeconds}) { $g->{reason} = 'ProgressDeadlineExceeded' }
    $g->{at} = Aegis::KubeStandIn::now() if ($g->{said} // '') ne $g->{reason};
    $g->{said} = $g->{reason};
    my $late = $g->{reason} eq 'ProgressDeadlineExceeded';
    my $name = $h ? "$w->{metadata}{name}-$h" : '';
    my %message = (ProgressDeadlineExceeded => "ReplicaSet \"$name\" has timed out progressing.", NewReplicaSetAvailable => "ReplicaSet \"$name\" has successfully progressed.", ReplicaSetUpdated => "ReplicaSet \"$name\" is progressing.");
    my $some = sub ($k, $v) { $v ? ($k => $v) : () };
    bump($w, { observedGeneration => $w->{metadata}{generation}, $some->(replicas => $n{n}), $some->(readyReplicas => $n{ready}), $some->(availableReplicas => $n{ready}),
        $some->(updatedReplicas => $new ? $new->{n} : $w->{status}{updatedReplicas}), $some->(unavailableReplicas => $n{n} - $n{ready}),
        conditions => [ { type => 'Available', status => $n{ready} >= $want ? 'True' : 'False', reason => $n{ready} >= $want ? 'MinimumReplicasAvailable' : 'MinimumReplicasUnavailable' },
            { type => 'Progressing', status => $late ? 'False' : 'True', reason => $g->{reason}, message => $message{ $g->{reason} } // '', lastUpdateTime => $g->{at} // Aegis::KubeStandIn::now() } ] });
}

# StatefulSets and DaemonSets: a ControllerRevision a template.
sub revision ($object, $ns, $w) {
    my $h = hash($w->{spec}{template});
    my $name = "$w->{metadata}{name}-$h";
    my $max = 0;
    for (grep { ($_->{kind} // '') eq 'ControllerRevision' && $_->{metadata}{ownerReferences}[0]{uid} eq $w->{metadata}{uid} } values %$object) { $max = $_->{revision} if $_->{revision} > $max }
    my $r = $object->{"$ns/controllerrevisions/$name"} //= { kind => 'ControllerRevision', metadata => { name => $name, namespace => $ns, uid => uuid(), labels => copy($w->{spec}{template}{metadata}{labels}),
        ownerReferences => owner($w) }, revision => $max + 1, data => { spec => { template => { %{ copy($w->{spec}{template}) }, '$patch' => 'replace' } } } };
    $r->{revision} = $max + 1 if $r->{revision} < $max;
    return ($name, $h);
}

sub revisions ($object, $ns, $w, $daemon) {
    my $p = $pods{ $w->{metadata}{uid} } //= { list => [] };
    my $want = $daemon ? 2 : $w->{spec}{replicas};
    my ($name, $h) = revision($object, $ns, $w);
    my $bad = broken($w->{spec}{template});
    my $list = $p->{list};
    # one pod a step, the highest first; one that is not ready is waited for
    if (my ($waiting) = grep { !$_->{ready} } @$list) {
        if (!$waiting->{bad}) { $waiting->{ready} = 1 }
        elsif ($waiting->{hash} ne $h) { @$waiting{qw(hash bad)} = ($h, $bad) }
        elsif (@$list > $want) { pop @$list }
    }
    elsif (@$list > $want) { pop @$list }
    elsif (@$list < $want) { push @$list, { hash => $h, ready => 0, bad => $bad } }
    elsif (my ($old) = grep { $_->{hash} ne $h } reverse @$list) { @$old{qw(hash ready bad)} = ($h, 0, $bad) }
    my ($updated, $ready) = (scalar(grep { $_->{hash} eq $h } @$list), scalar grep { $_->{ready} } @$list);
    $p->{current} = $name if !defined $p->{current} || $updated == $want && $ready == $want;
    my %seen = (observedGeneration => $w->{metadata}{generation});
    return bump($w, { %seen, desiredNumberScheduled => $want, currentNumberScheduled => scalar @$list, updatedNumberScheduled => $updated, numberReady => $ready, $ready ? (numberAvailable => $ready) : (), numberMisscheduled => 0 }) if $daemon;
    bump($w, { %seen, replicas => scalar @$list, $ready ? (readyReplicas => $ready) : (), availableReplicas => $ready, $updated ? (updatedReplicas => $updated) : (), currentRevision => $p->{current}, updateRevision => $name });
}

1;
