# Aegis::Tls: a certification authority of a test and what it signs, by openssl.
# Invariant: nothing of it is trusted by anybody outside the test's folder.
package Aegis::Tls;

use v5.36;
use File::Path qw(make_path);
use Aegis::Test;

sub new ($class, $dir, $name = 'Aegis test CA') {
    make_path($dir);
    chmod 0755, $dir;
    my $self = bless { dir => $dir }, $class;
    run_ok(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '30',
        '-keyout', "$dir/ca.key", '-out', "$dir/ca.pem", '-subj', "/CN=$name",
        '-addext', 'basicConstraints=critical,CA:TRUE,pathlen:0', '-addext', 'keyUsage=critical,keyCertSign,cRLSign']);
    return $self;
}

sub ca ($self) { return "$self->{dir}/ca.pem" }

# <name>.pem and <name>.key. san: "IP:…,DNS:…"; owner: whose the key is.
sub cert ($self, $name, %opt) {
    my $f = "$self->{dir}/$name";
    run_ok(['openssl', 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', "$f.key",
        '-out', "$f.csr", '-subj', '/CN=' . ($opt{cn} // $name)]);
    spew("$f.ext", join "\n", ($opt{san} ? "subjectAltName=$opt{san}" : ()), 'basicConstraints=critical,CA:FALSE',
        'keyUsage=critical,digitalSignature', 'extendedKeyUsage=serverAuth,clientAuth', '');
    run_ok(['openssl', 'x509', '-req', '-in', "$f.csr", '-CA', $self->ca, '-CAkey', "$self->{dir}/ca.key",
        '-CAcreateserial', '-days', '30', '-extfile', "$f.ext", '-out', "$f.pem"]);
    unlink "$f.csr", "$f.ext";
    chmod 0600, "$f.key";
    if ($> == 0 && $opt{owner}) {
        my ($uid, $gid) = (getpwnam $opt{owner})[2, 3];
        chown $uid, $gid, "$f.key";
    }
    return $f;
}

1;
