# Aegis::Kube: a Kubernetes API for tests. The real one, kube-apiserver, etcd and
# kube-controller-manager, where AEGIS_T_KUBE names the folder of the three
# programs (make k8s-test builds them); else the stand-in, Aegis::KubeStandIn. In
# front of the real one runs a kubelet's place: it makes pods ready, and leaves
# those whose image says "broken" as they are.
# Invariant: both speak TLS with the same CA, and know the same tokens.
package Aegis::Kube;

use v5.36;
use IO::Socket::SSL;
use Aegis::Test;

our %TOKEN = (admin => 'admin-token', weak => 'weak-token');

sub new ($class, %args) {
    my $dir = $args{dir} // scratch('kube');
    my $self = bless { dir => $dir, port => free_port(), bin => $ENV{AEGIS_T_KUBE}, %args }, $class;
    $self->_certs;
    spew("$dir/tokens.csv", join '', map { "$TOKEN{$_},$_,$_" . ($_ eq 'admin' ? ',system:masters' : '') . "\n" } sort keys %TOKEN);
    $self->{bin} ? $self->_real : $self->_stand_in;
    return $self;
}

sub real ($self) { return $self->{bin} ? 1 : 0 }
sub dir ($self) { return $self->{dir} }
sub server ($self) { return "https://127.0.0.1:$self->{port}" }
sub ca ($self) { return "$self->{dir}/ca.crt" }

# ca, the server's certificate, one of a client in system:masters, a key for tokens
sub _certs ($self) {
    my $d = $self->{dir};
    my @q = ('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2');
    run_ok([@q, '-keyout', "$d/ca.key", '-out', "$d/ca.crt", '-subj', '/CN=aegis-test-ca']);
    for (['server', '/CN=kube-apiserver', "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth"],
        ['client', '/O=system:masters/CN=cert-admin', 'extendedKeyUsage=clientAuth'])
    {
        my ($name, $subject, $ext) = @$_;
        spew("$d/$name.ext", "$ext\n");
        run_ok(['openssl', 'req', '-newkey', 'rsa:2048', '-nodes', '-keyout', "$d/$name.key", '-out', "$d/$name.csr", '-subj', $subject]);
        run_ok(['openssl', 'x509', '-req', '-in', "$d/$name.csr", '-CA', "$d/ca.crt", '-CAkey', "$d/ca.key", '-CAcreateserial', '-days', '2',
            '-extfile', "$d/$name.ext", '-out', "$d/$name.crt"]);
    }
    run_ok(['openssl', 'genrsa', '-out', "$d/sa.key", '2048']);
}

sub _real ($self) {
    my ($d, $bin) = @$self{qw(dir bin)};
    my ($c, $p) = (free_port(), free_port());
    start_process('etcd', ["$bin/etcd", '--data-dir', "$d/etcd", '--listen-client-urls', "http://127.0.0.1:$c", '--advertise-client-urls', "http://127.0.0.1:$c",
        '--listen-peer-urls', "http://127.0.0.1:$p", '--unsafe-no-fsync'], log => "$d/etcd.log");
    start_process('kube-apiserver', ["$bin/kube-apiserver", "--etcd-servers=http://127.0.0.1:$c", '--bind-address=127.0.0.1', '--advertise-address=10.0.0.1',
        "--secure-port=$self->{port}", "--tls-cert-file=$d/server.crt", "--tls-private-key-file=$d/server.key", "--client-ca-file=$d/ca.crt",
        '--service-account-issuer=https://kube.example', "--service-account-key-file=$d/sa.key", "--service-account-signing-key-file=$d/sa.key",
        "--token-auth-file=$d/tokens.csv", '--authorization-mode=RBAC', '--service-cluster-ip-range=10.96.0.0/16', '--disable-admission-plugins=ServiceAccount'],
        log => "$d/apiserver.log");
    wait_for('the real kube-apiserver', 90, sub { ($self->call('GET', '/readyz'))[0] == 200 }) or die "no kube-apiserver, see $d/apiserver.log";
    spew("$d/manager.conf", $self->kubeconfig(token => $TOKEN{admin}));
    $self->{manager} = start_process('kube-controller-manager', ["$bin/kube-controller-manager", "--kubeconfig=$d/manager.conf", '--secure-port=0',
        '--controllers=deployment-controller,replicaset-controller,statefulset-controller,daemonset-controller,garbage-collector-controller', '--leader-elect=false'],
        log => "$d/manager.log");
    $self->{kubelet} = start_process('kubelet', [$^X, '-I' . root . '/t/lib', '-MAegis::Kube', '-e', 'Aegis::Kube::kubelet(@ARGV)', $self->{port}, $self->ca]);
}

sub _stand_in ($self) {
    require Aegis::KubeStandIn;
    $self->{stand_in} = start_process('kube-stand-in', [$^X, '-I' . root . '/t/lib', '-MAegis::KubeStandIn', '-e', 'Aegis::KubeStandIn::serve(@ARGV)', $self->{port}, $self->{dir}]);
    wait_for('the stand-in', 20, sub { ($self->call('GET', '/readyz'))[0] == 200 }) or die 'no stand-in';
}

sub kubeconfig ($self, %user) {
    my $u = join '', map { "    $_: \"$user{$_}\"\n" } sort keys %user;
    return "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- name: here\n  context:\n    cluster: here\n    user: me\n"
        . "clusters:\n- name: here\n  cluster:\n    server: @{[ $self->server ]}\n    certificate-authority: @{[ $self->ca ]}\nusers:\n- name: me\n  user:\n$u";
}

# One request: (status, document).
sub call ($self, $method, $path, $body = undef, %o) {
    return request($self->{port}, $self->ca, $method, $path, $body, token => $TOKEN{admin}, %o);
}

# The same, which has to succeed.
sub must ($self, $method, $path, $body = undef, %o) {
    my ($status, $doc) = $self->call($method, $path, $body, %o);
    die "$method $path: $status " . json_encode($doc) . "\n" if $status > 299;
    return $doc;
}

sub request ($port, $ca, $method, $path, $body, %o) {
    my $s = IO::Socket::SSL->new(PeerAddr => '127.0.0.1', PeerPort => $port, SSL_ca_file => $ca, SSL_verifycn_name => '127.0.0.1', SSL_verifycn_scheme => 'http', Timeout => 10) or return (0, {});
    my $text = defined $body ? json_encode($body) : '';
    print $s "$method $path HTTP/1.0\r\nHost: kube\r\nAccept: application/json\r\n" . (defined $o{token} ? "Authorization: Bearer $o{token}\r\n" : '')
        . (defined $body ? 'Content-Type: ' . ($o{type} // 'application/json') . "\r\n" : '') . 'Content-Length: ' . length($text) . "\r\n\r\n$text";
    local $/;
    my $in = <$s> // '';
    my ($status, $rest) = $in =~ m{\AHTTP/1\.[01] (\d+).*?\r\n\r\n(.*)\z}s or return (0, {});
    return ($status, eval { json_decode($rest) } // { text => $rest });
}

# In a process of its own: pods become ready, what is to go goes, nodes stay.
sub kubelet ($port, $ca) {
    my $call = sub { request($port, $ca, @_[0 .. 2], token => $TOKEN{admin}, @_[3 .. $#_]) };
    my $first = getppid;
    while (getppid == $first) {
        my ($status, $list) = $call->('GET', '/api/v1/pods', undef);
        for my $p (@{ $list->{items} // [] }) {
            my $path = "/api/v1/namespaces/$p->{metadata}{namespace}/pods/$p->{metadata}{name}";
            if ($p->{metadata}{deletionTimestamp}) {
                $call->('DELETE', $path, { kind => 'DeleteOptions', apiVersion => 'v1', gracePeriodSeconds => 0 });
                next;
            }
            next if ($p->{status}{phase} // '') eq 'Running' || grep { $_->{image} =~ /broken/ } @{ $p->{spec}{containers} };
            my @t = gmtime;
            my $now = sprintf '%04d-%02d-%02dT%02d:%02d:%02dZ', $t[5] + 1900, $t[4] + 1, @t[3, 2, 1, 0];
            $call->('PATCH', "$path/status", { status => { phase => 'Running', conditions => [ { type => 'Ready', status => 'True', lastTransitionTime => $now } ] } },
                type => 'application/strategic-merge-patch+json');
        }
        select undef, undef, undef, 0.1;
    }
}

# In a process of its own: somebody else writes to web-deployment all the time, as
# fast as its controller can follow.
sub noise ($port, $ca) {
    my $first = getppid;
    for (my $n = 0; getppid == $first; $n++) {
        request($port, $ca, 'PATCH', '/apis/apps/v1/namespaces/shop/deployments/web-deployment', { metadata => { annotations => { noise => "$n" } } },
            token => $TOKEN{admin}, type => 'application/merge-patch+json');
        select undef, undef, undef, 0.15;
    }
}

# --- workloads

sub workload ($self, $kind, $name, %o) {
    my %kind = (deployment => 'Deployment', statefulset => 'StatefulSet', daemonset => 'DaemonSet');
    my $ns = $o{ns} // 'shop';
    my %spec = (selector => { matchLabels => { app => $name } },
        template => { metadata => { labels => { app => $name } }, spec => { containers => [ map { { name => "c$_", image => $o{image} // 'registry.example.com/shop/web:1' } } 1 .. ($o{containers} // 1) ] } });
    $spec{replicas} = $o{replicas} // 3 if $kind ne 'daemonset';
    $spec{serviceName} = $name if $kind eq 'statefulset';
    $spec{progressDeadlineSeconds} = $o{deadline} if $o{deadline};
    my $doc = { apiVersion => 'apps/v1', kind => $kind{$kind}, metadata => { name => $name, namespace => $ns }, spec => { %spec, %{ $o{spec} // {} } } };
    $self->must('POST', "/apis/apps/v1/namespaces/$ns/${kind}s", $doc);
    return $self->settled($kind, $name, %o);
}

sub get ($self, $kind, $name, %o) { return $self->must('GET', '/apis/apps/v1/namespaces/' . ($o{ns} // 'shop') . "/${kind}s/$name") }

# Its rollout is over, as kubectl would see it.
sub settled ($self, $kind, $name, %o) {
    my $d;
    wait_for("$kind $name to be rolled out", 40, sub {
        $d = $self->get($kind, $name, %o);
        my $s = $d->{status};
        return 0 if ($s->{observedGeneration} // 0) < $d->{metadata}{generation};
        my $n = $d->{spec}{replicas} // 1;
        my $zero = sub ($k) { $s->{$k} // 0 };
        return $zero->('updatedNumberScheduled') == $zero->('desiredNumberScheduled') && $zero->('numberAvailable') >= $zero->('desiredNumberScheduled') && $zero->('desiredNumberScheduled') > 0 if $kind eq 'daemonset';
        return $zero->('readyReplicas') == $n && $s->{updateRevision} eq $s->{currentRevision} && $zero->('replicas') == $n if $kind eq 'statefulset';
        return $zero->('updatedReplicas') == $n && $zero->('replicas') == $n && $zero->('availableReplicas') == $n;
    });
    return $d;
}

# Namespaces, a node for daemonsets, the executor's account with the rights of
# deploy/k8s/rbac.yaml, and the folder that a pod would have of it.
sub prepare ($self) {
    for my $ns (qw(shop aegis other)) {
        $self->must('POST', '/api/v1/namespaces', { apiVersion => 'v1', kind => 'Namespace', metadata => { name => $ns } });
    }
    for my $n (1, 2) {
        $self->must('POST', '/api/v1/nodes', { apiVersion => 'v1', kind => 'Node', metadata => { name => "node-$n" } });
        $self->call('PATCH', "/api/v1/nodes/node-$n", { spec => { taints => undef } }, type => 'application/merge-patch+json');
    }
    for my $doc (rbac()) {
        my $ns = $doc->{metadata}{namespace};
        my $base = $doc->{kind} eq 'ServiceAccount' ? "/api/v1/namespaces/$ns/serviceaccounts" : "/apis/rbac.authorization.k8s.io/v1/namespaces/$ns/" . lc($doc->{kind}) . 's';
        $self->must('POST', $base, $doc);
    }
    my $account = "$self->{dir}/account";
    mkdir $account;
    spew("$account/ca.crt", slurp($self->ca));
    spew("$account/token", $self->account_token . "\n");
    return $self;
}

sub account_token ($self) {
    return $self->must('POST', '/api/v1/namespaces/aegis/serviceaccounts/aegis-executor/token',
        { apiVersion => 'authentication.k8s.io/v1', kind => 'TokenRequest', spec => { expirationSeconds => 3600 } })->{status}{token};
}

# The executor's settings, with more of k8s.* or other ones; a file.
sub conf ($self, $name = 'aegis', %more) {
    my %k = (account_dir => "$self->{dir}/account", server => $self->server, namespaces => 'shop', images => 'registry.example.com/shop', replicas_max => 6, request_timeout_s => 5, %more);
    return spew("$self->{dir}/$name.yaml", "# $name.yaml: settings of a test\ndatabase:\n  url: \"host=/nowhere\"\nk8s:\n" . join '', map { "  $_: \"$k{$_}\"\n" } sort keys %k);
}

# An act, as the executor's runner would drive it; returns at once with
# later => 1: a process, whose answer() is taken when it has ended.
sub act ($self, $action, $params, %o) {
    state $n = 0;
    my $conf = delete $o{conf} // ($self->{conf} //= $self->conf);
    my $later = delete $o{later};
    my @argv = (build_dir . '/t/act/act', '--conf', $conf, '--objects', "$self->{dir}/objects", '--action', "k8s.$action",
        '--params', json_encode({ namespace => 'shop', %$params }), map { /^(hard|metrics)$/ ? "--$_" : ("--$_", $o{$_}) } sort keys %o);
    return start_process('act-' . ++$n, \@argv, env => {san_env}, log => "$self->{dir}/act-$n.log") if $later;
    my $r = run(\@argv, env => {san_env}, timeout => 120);
    return $r->{signal} ? { state => 'DEAD' } : _answer($r->{out}, $r->{err});
}

sub _answer ($out, $err) {
    my ($line) = $out =~ /^(\{"state".*\})$/m;
    return $line ? { %{ json_decode($line) }, metrics => $out } : { state => "NONE: $out$err", error => $err };
}

sub answer ($p) {
    wait_for("$p->{name} to end", 90, sub { waitpid($p->{pid}, POSIX::WNOHANG()) == $p->{pid} ? $p->{status} = $? || 1 : 0 });
    return _answer(slurp($p->{log}), '');
}

# The documents of deploy/k8s/rbac.yaml.
sub rbac () {
    require YAML::XS;
    return YAML::XS::Load(slurp(root . '/deploy/k8s/rbac.yaml'));
}

1;
