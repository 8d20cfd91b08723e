"""The outside world as a server sees it: names that the test gives addresses, all of which lead to loopback
(fault/outside.c), an authority for certificates, and endpoints that such names lead to."""
import os
import subprocess

from harness.core import expect, warren

# Of no private network, so that the server may connect to it; the library leads it to loopback.
PUBLIC, PUBLIC6 = "1.2.3.4", "2606:4700::6810:84e5"


def library():
    """The preloaded library that stands beside the program under test."""
    path = os.path.join(os.path.dirname(warren()), "tests", "outside.so")
    expect(os.path.exists(path), "no outside.so beside the program: make unit", path)
    return path


class Outside:
    """environment is what the server is started with. A name's answers come one after the other, the last one stays."""

    def __init__(self, t, **names):
        self.path, self.log = t.write("outside", ""), t.write("outside.log", "")
        self.environment = {"LD_PRELOAD": library(), "WARREN_OUTSIDE": self.path, "WARREN_OUTSIDE_LOG": self.log,
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}
        self.answers = {}
        self.names(**names)

    def names(self, **names):
        """More of them; in names _ stands for - and for the rest of example's: shop is shop.example."""
        for name, answers in names.items():
            self.name(name.replace("_", "-") + ".example", *([answers] if isinstance(answers, str) else answers))

    def name(self, host, *answers):
        self.answers[host] = answers
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.writelines(" ".join([host, *of]) + "\n" for host, of in self.answers.items())
        os.replace(self.path + ".new", self.path)

    def _noted(self, word):
        with open(self.log, encoding="ascii") as f:
            return [line.split()[1] for line in f if line.startswith(word + " ")]

    def lookups(self, host):
        return self._noted("lookup").count(host)

    def connects(self):
        """The addresses that were connected to, whether somebody was there or not."""
        return self._noted("connect")


class Authority:
    """Signs certificates; path is its own one, which those who trust it have."""

    def __init__(self, t, name="authority"):
        self.t, self.path, self.key = t, t.path(f"{name}.crt"), t.path(f"{name}.key")
        self._openssl("req", "-x509", *self.KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self.key, "-out", self.path)

    KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    @staticmethod
    def _openssl(*args):
        subprocess.run(["openssl", *args], check=True, stdin=subprocess.DEVNULL, capture_output=True)

    def issue(self, host, days=2):
        """The path of a key with a certificate for this host; of one that has expired where days is less than zero."""
        path = self.t.path(f"{host}{days}.pem")
        self._openssl("req", *self.KEY, "-subj", "/CN=endpoint", "-addext", f"subjectAltName=DNS:{host}", "-keyout", path,
                      "-out", path + ".csr")
        self._openssl("x509", "-req", "-in", path + ".csr", "-CA", self.path, "-CAkey", self.key, "-days", str(days),
                      "-copy_extensions", "copy", "-out", path + ".crt")
        with open(path, "ab") as f, open(path + ".crt", "rb") as crt:
            f.write(crt.read())
        return path
