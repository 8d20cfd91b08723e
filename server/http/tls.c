#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "server/http/http_internal.h"

#define MAX_PEM ((off_t)1 << 20)

WR_DEFINE_AUTO_AS(bio, BIO, BIO_free_all);
WR_DEFINE_AUTO_AS(x509, X509, X509_free);
WR_DEFINE_AUTO_AS(pkey, EVP_PKEY, EVP_PKEY_free);

static enum wr_code read_pem(char **out, const char *what, const char *path, struct wr_error *err)
{
	WR_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	WR_AUTO_MEM char *text = NULL;
	char reason[128];
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) != 0)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: cannot read %s: %s", what, path,
			       strerror_r(errno, reason, sizeof reason) ? "no reason known" : reason);
	if (!S_ISREG(st.st_mode) || st.st_size > MAX_PEM)
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: %s is no PEM file", what, path);
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return wr_fail_nomem(err);
	n = read(fd, text, (size_t)st.st_size);
	if (n != st.st_size || memchr(text, '\0', (size_t)n))
		return wr_fail(err, WR_E_INVALID_REQUEST, "%s: %s is no PEM file", what, path);
	text[n] = '\0';
	*out = WR_STEAL(text);
	return WR_OK;
}

/* A server that starts by itself has nobody to ask for a passphrase. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static enum wr_code check_pair(const char *cert, const char *key, const char *cert_file, const char *key_file,
			       struct wr_error *err)
{
	WR_AUTO(bio) *cert_bio = BIO_new_mem_buf(cert, -1);
	WR_AUTO(bio) *key_bio = BIO_new_mem_buf(key, -1);
	WR_AUTO(x509) *x509 = NULL;
	WR_AUTO(pkey) *pkey = NULL;
	bool match;

	if (!cert_bio || !key_bio)
		return wr_fail_nomem(err);
	x509 = PEM_read_bio_X509(cert_bio, NULL, no_passphrase, NULL);
	pkey = PEM_read_bio_PrivateKey(key_bio, NULL, no_passphrase, NULL);
	match = x509 && pkey && X509_check_private_key(x509, pkey) == 1;
	ERR_clear_error();
	if (!x509)
		return wr_fail(err, WR_E_INVALID_REQUEST, "tls-cert: %s holds no certificate in PEM form", cert_file);
	if (!pkey)
		return wr_fail(err, WR_E_INVALID_REQUEST,
			       "tls-key: %s holds no private key in PEM form that opens without a passphrase",
			       key_file);
	if (!match)
		return wr_fail(err, WR_E_INVALID_REQUEST, "The key in %s does not belong to the certificate in %s",
			       key_file, cert_file);
	return WR_OK;
}

enum wr_code wr_tls_load(char **cert, char **key, const char *cert_file, const char *key_file, struct wr_error *err)
{
	WR_AUTO_MEM char *cert_text = NULL;
	WR_AUTO_MEM char *key_text = NULL;
	enum wr_code code;

	if (!cert_file[0] || !key_file[0])
		return wr_fail(err, WR_E_INVALID_REQUEST, "TLS needs both tls-cert and tls-key");
	if ((code = read_pem(&cert_text, "tls-cert", cert_file, err)) ||
	    (code = read_pem(&key_text, "tls-key", key_file, err)) ||
	    (code = check_pair(cert_text, key_text, cert_file, key_file, err)))
		return code;
	*cert = WR_STEAL(cert_text);
	*key = WR_STEAL(key_text);
	return WR_OK;
}
