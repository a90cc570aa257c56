# Aegis::KubeStandIn: as much of a Kubernetes API as workloads need, over TLS: the
# objects, patches with resourceVersion, dry runs, rights, refusals, and in
# Aegis::KubeControllers what rolls workloads out. 43kube_standin.t replays
# recordings of the real one against it (t/data/kube).
# PUT /_faults takes a list of {method, n, status|drop, retry_after}: what the next
# n requests of a method meet instead; drop "before" or "after" the effect: no answer.
package Aegis::KubeStandIn;

use v5.36;
use Digest::SHA 'sha256_hex';
use IO::Select;
use IO::Socket::INET;
use IO::Socket::SSL;
use JSON::PP ();
use POSIX ();
use Time::HiRes 'time';
use Aegis::KubeControllers;
use Aegis::Test;

our (%object, $version, @faults, %token, %group);
my %api = (namespaces => '', nodes => '', serviceaccounts => '', roles => 'rbac.authorization.k8s.io', rolebindings => 'rbac.authorization.k8s.io',
    map { $_ => 'apps' } qw(deployments statefulsets daemonsets replicasets controllerrevisions));
my %kind = (deployments => 'Deployment', statefulsets => 'StatefulSet', daemonsets => 'DaemonSet', replicasets => 'ReplicaSet', controllerrevisions => 'ControllerRevision');

sub now () { return POSIX::strftime('%Y-%m-%dT%H:%M:%SZ', gmtime) }
sub copy ($v) { return json_decode(json_encode($v)) }
sub same ($x, $y) { return json_encode($x) eq json_encode($y) }

sub serve ($port, $dir) {
    $SIG{PIPE} = 'IGNORE';
    %token = map { /^([^,]+),([^,]+),[^,]*,?(.*)$/ ? ($1 => $2) : () } split /\n/, slurp("$dir/tokens.csv");
    $group{admin} = 'system:masters';
    my $listen = IO::Socket::INET->new(Listen => 64, LocalAddr => '127.0.0.1', LocalPort => $port, ReuseAddr => 1) or die "listen: $!";
    my $sel = IO::Select->new($listen);
    my (%in, %ready);
    my $tick = 0;
    my $first = getppid;
    while (getppid == $first) {
        for my $s ($sel->can_read(0.01)) {
            if ($s == $listen) {
                my $c = $listen->accept or next;
                $c->blocking(0);
                IO::Socket::SSL->start_SSL($c, SSL_server => 1, SSL_startHandshake => 0, SSL_cert_file => "$dir/server.crt", SSL_key_file => "$dir/server.key",
                    SSL_ca_file => "$dir/ca.crt", SSL_verify_mode => SSL_VERIFY_PEER, SSL_verify_callback => sub { 1 }) or next;
                $c->blocking(0);
                $sel->add($c);
                next;
            }
            my $gone = sub { $sel->remove($s); delete $in{$s}; delete $ready{$s}; close $s };
            if (!$ready{$s}) {
                if ($s->accept_SSL) { $ready{$s} = 1 }
                elsif ($SSL_ERROR != SSL_WANT_READ && $SSL_ERROR != SSL_WANT_WRITE) { $gone->(); next }
                else { next }
            }
            my $n;
            while ($n = sysread $s, $in{$s}, 65536, length($in{$s} // '')) { }
            if (defined $n && $n == 0) { $gone->(); next }
            my ($head, $body) = split /\r\n\r\n/, $in{$s} // '', 2;
            next if !defined $body || length $body < ($head =~ /^Content-Length: (\d+)/mi ? $1 : 0);
            my $stays = $head =~ m{ HTTP/1\.1\r} && $head !~ /^Connection: close/mi;
            $in{$s} = '';
            my $answer = eval { answer($s, $head, $body) } // reply(500, status(500, 'InternalError', "$@"));
            $s->blocking(1);
            print $s $answer if length $answer;
            if (!$stays || !length $answer) { $gone->() }
            else { $s->blocking(0) }
        }
        if (time >= $tick) { Aegis::KubeControllers::step(\%object); $tick = time + 0.02 }
    }
}

sub reply ($code, $doc, @headers) {
    my $text = json_encode($doc);
    return "HTTP/1.1 $code X\r\nContent-Type: application/json\r\n" . join('', map { "$_\r\n" } @headers) . 'Content-Length: ' . length($text) . "\r\n\r\n$text";
}

sub status ($code, $reason, $message) {
    return { kind => 'Status', apiVersion => 'v1', metadata => {}, status => 'Failure', message => $message, reason => $reason, code => $code };
}

sub answer ($s, $head, $body) {
    my ($method, $path, $query) = $head =~ m{^(\w+) ([^ ?]+)\??(\S*) HTTP} or return reply(400, status(400, 'BadRequest', 'no request'));
    return reply(200, { ok => 1 }) if $path eq '/readyz';
    my $doc = length $body ? json_decode($body) : undef;
    if ($path eq '/_faults') { @faults = @$doc; return reply(200, {}) }
    my ($drop, $fault);
    for my $f (@faults) {
        next if $f->{method} ne $method || $f->{n}-- <= 0;
        return '' if ($f->{drop} // '') eq 'before';
        if ($f->{status}) { return reply($f->{status}, $f->{text} ? { text => 1 } : status($f->{status}, 'ServiceUnavailable', 'a fault'), $f->{retry_after} ? "Retry-After: $f->{retry_after}" : ()) }
        $drop = 1;
        last;
    }
    my $subject = eval { $s->peer_certificate('subject') } // '';
    my ($bearer) = $head =~ /^Authorization: Bearer (\S+)/mi;
    my $user = defined $bearer ? $token{$bearer} : $subject =~ /O\s*=\s*system:masters/ ? 'admin' : undef;
    return reply(401, status(401, 'Unauthorized', 'Unauthorized')) if !defined $user;
    my ($type) = $head =~ /^Content-Type: (\S+)/mi;
    my ($code, $out) = handle($user, $method, $path, $query, $doc, $type // '');
    return $drop ? '' : reply($code, $out);
}

# Has user the right? Roles and bindings as they are stored.
sub may ($user, $verb, $group, $resource, $ns) {
    return 1 if ($group{$user} // '') eq 'system:masters';
    for my $b (grep { ($_->{kind} // '') eq 'RoleBinding' && $_->{metadata}{namespace} eq $ns } values %object) {
        next unless grep { "system:serviceaccount:$_->{namespace}:$_->{name}" eq $user } @{ $b->{subjects} };
        my $role = $object{"$ns/roles/$b->{roleRef}{name}"} or next;
        for my $r (@{ $role->{rules} }) {
            return 1 if (grep { $_ eq $verb } @{ $r->{verbs} }) && (grep { $_ eq $group } @{ $r->{apiGroups} }) && grep { $_ eq $resource } @{ $r->{resources} };
        }
    }
    return 0;
}

sub handle ($user, $method, $path, $query, $doc, $type) {
    my ($ns, $resource, $name, $sub) = $path =~ m{^/(?:api/v1|apis/[\w.]+/v1)/(?:namespaces/([\w.-]+)/(?=\w))?(\w+)(?:/([\w.-]+))?(?:/(\w+))?$} or return (404, { text => '404 page not found' });
    return (404, { text => '404 page not found' }) if !exists $api{$resource};
    $ns //= '';
    my $group = $api{$resource};
    my $full = $group eq '' ? $resource : "$resource.$group";
    my $verb = { GET => defined $name ? 'get' : 'list', PATCH => 'patch', PUT => 'update', POST => 'create', DELETE => 'delete' }->{$method};
    if (!may($user, $verb, $group, $resource, $ns)) {
        return (403, status(403, 'Forbidden', $full . (defined $name ? " \"$name\"" : '') . " is forbidden: User \"$user\" cannot $verb resource \"$resource\" in API group \"$group\" in the namespace \"$ns\""));
    }
    if (($sub // '') eq 'token') {
        my $t = sha256_hex(uuid());
        $token{$t} = "system:serviceaccount:$ns:$name";
        return (201, { status => { token => $t } });
    }
    my %q = map { my ($k, $v) = split /=/, $_, 2; ($k => ($v // '') =~ s/%([0-9A-F]{2})/chr hex $1/ger) } split /&/, $query;
    return list($ns, $resource, $q{labelSelector}) if $verb eq 'list';
    return create($ns, $resource, $doc) if $verb eq 'create';
    my $key = "$ns/$resource/$name";
    my $old = $object{$key} or return (404, status(404, 'NotFound', "$full \"$name\" not found"));
    return (200, $old) if $verb eq 'get';
    if ($verb eq 'delete') {
        delete $object{$key};
        delete $object{$_} for grep { grep { $_->{uid} eq $old->{metadata}{uid} } @{ $object{$_}{metadata}{ownerReferences} // [] } } keys %object;
        return (200, { kind => 'Status', metadata => {}, status => 'Success' });
    }
    my $new = $verb eq 'update' ? $doc : eval { patched($old, $doc, $type) };
    return (415, status(415, 'UnsupportedMediaType', "the body of the request was in an unknown format")) if !defined $new;
    return store($key, $resource, $name, $full, $old, $new, ($q{dryRun} // '') eq 'All');
}

sub list ($ns, $resource, $selector) {
    my %want = map { /^([^=]+)=(.*)$/ ? ($1 => $2) : () } split /,/, $selector // '';
    my @items = grep { my $l = $_->{metadata}{labels} // {}; !grep { ($l->{$_} // '') ne $want{$_} } keys %want } map { $object{$_} } sort grep { m{^\Q$ns\E/$resource/} } keys %object;
    return (200, { kind => "$kind{$resource}List", apiVersion => 'apps/v1', metadata => { resourceVersion => "$version" }, items => \@items });
}

sub create ($ns, $resource, $doc) {
    my $name = $doc->{metadata}{name};
    my $key = "$ns/$resource/$name";
    return (409, status(409, 'AlreadyExists', "$resource \"$name\" already exists")) if $object{$key};
    $doc->{metadata} = { %{ $doc->{metadata} }, uid => uuid(), resourceVersion => '' . ++$version, generation => 1, creationTimestamp => now() };
    $doc->{spec}{replicas} //= 1 if $resource =~ /^(deployments|statefulsets)$/;
    $doc->{spec}{progressDeadlineSeconds} //= 600 if $resource eq 'deployments';
    $doc->{spec}{updateStrategy} //= { type => 'RollingUpdate' } if $resource =~ /^(daemon|stateful)sets$/;
    $doc->{status} //= {} if $kind{$resource};
    $doc->{metadata}{annotations}{'deprecated.daemonset.template.generation'} = '1' if $resource eq 'daemonsets';
    $object{$key} = $doc;
    return (201, $doc);
}

sub store ($key, $resource, $name, $full, $old, $new, $dry) {
    my $m = $new->{metadata};
    if (defined $m->{resourceVersion} && $m->{resourceVersion} ne $old->{metadata}{resourceVersion}) {
        return (409, status(409, 'Conflict', "Operation cannot be fulfilled on $full \"$name\": the object has been modified; please apply your changes to the latest version and try again"));
    }
    if (($new->{spec}{replicas} // 0) < 0) {
        return (422, status(422, 'Invalid', ($kind{$resource} // $resource) . ".apps \"$name\" is invalid: spec.replicas: Invalid value: $new->{spec}{replicas}: must be greater than or equal to 0"));
    }
    $new->{status} = $old->{status} if exists $old->{status};
    @$m{qw(uid creationTimestamp generation resourceVersion)} = @{ $old->{metadata} }{qw(uid creationTimestamp generation resourceVersion)};
    return (200, $new) if same($old, $new);
    # a Deployment counts its annotations too
    $m->{generation}++ if !same($old->{spec}, $new->{spec}) || $resource eq 'deployments' && !same($old->{metadata}{annotations} // {}, $m->{annotations} // {});
    $m->{annotations}{'deprecated.daemonset.template.generation'} = sprintf '%d', $m->{generation} if $resource eq 'daemonsets';
    return (200, $new) if $dry;
    $m->{resourceVersion} = '' . ++$version;
    $object{$key} = $new;
    return (200, $new);
}

sub patched ($old, $patch, $type) {
    my $new = copy($old);
    if ($type eq 'application/json-patch+json') {
        for my $op (@$patch) {
            my @at = map { s{~1}{/}gr =~ s/~0/~/gr } split m{/}, substr $op->{path}, 1;
            my $last = pop @at;
            my $place = $new;
            $place = $place->{$_} //= {} for @at;
            $place->{$last} = copy($op->{value});
        }
        return $new;
    }
    return undef if $type !~ m{^application/(strategic-)?merge-patch\+json$};
    return merge($new, $patch, $1 ? 1 : 0);
}

# Strategic: lists of containers are merged by name, $patch: replace replaces.
sub merge ($to, $from, $strategic) {
    if ($strategic && ref $from eq 'HASH' && ($from->{'$patch'} // '') eq 'replace') {
        my %new = %$from;
        delete $new{'$patch'};
        return copy(\%new);
    }
    for my $k (keys %$from) {
        my $v = $from->{$k};
        if (!defined $v) { delete $to->{$k} }
        elsif (ref $v eq 'HASH') { $to->{$k} = merge(ref $to->{$k} eq 'HASH' ? $to->{$k} : {}, $v, $strategic) }
        elsif ($strategic && $k =~ /^(init)?[cC]ontainers$/) {
            for my $c (@$v) {
                my ($have) = grep { $_->{name} eq $c->{name} } @{ $to->{$k} //= [] };
                if ($have) { merge($have, $c, 1) }
                else { push @{ $to->{$k} }, copy($c) }
            }
        }
        else { $to->{$k} = copy($v) }
    }
    return $to;
}

1;
