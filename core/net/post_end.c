#include "core/net/post_internal.h"

#include <errno.h>

static void say(struct wr_post_end *end, enum wr_code code, const char *words)
{
	end->code = code;
	snprintf(end->error, sizeof end->error, "%s", words);
}

static const char *no_connection(CURL *e, const struct wr_curl_guard *guard)
{
	long error = 0;

	if (guard->error)
		return "This server has no free connection just now";
	curl_easy_getinfo(e, CURLINFO_OS_ERRNO, &error);
	switch (error) {
	case ECONNREFUSED:
		return "The connection was refused: nothing listens at the endpoint's address and port";
	case ENETUNREACH:
	case EHOSTUNREACH:
		return "There is no way to the endpoint's address";
	default:
		return "The endpoint cannot be connected to";
	}
}

static const char *bad_certificate(CURL *e)
{
	long why = 0;

	/* X509_V_ERR_...; libcurl looks at the name before it asks how the rest was, and leaves what it was before. */
	curl_easy_getinfo(e, CURLINFO_SSL_VERIFYRESULT, &why);
	switch (why) {
	case 0:
	case 1:
		return "The endpoint's TLS certificate is not accepted: it is for another host name";
	case 9:
		return "The endpoint's TLS certificate is not accepted: it is not valid yet";
	case 10:
		return "The endpoint's TLS certificate is not accepted: it has expired";
	default:
		return "The endpoint's TLS certificate is not accepted: no authority that is trusted here has "
		       "signed it, or certificates between them are not sent along";
	}
}

static void timed_out(struct wr_post_end *end, CURL *e)
{
	long sent = 0;

	curl_easy_getinfo(e, CURLINFO_REQUEST_SIZE, &sent);
	say(end, WR_E_NET_SLOW,
	    sent ? "The endpoint did not answer in time" : "The endpoint's name, connection or TLS took too long");
}

static void ended_by_us(struct wr_post_end *end, size_t head_len)
{
	if (head_len > WR_POST_HEAD_MAX)
		say(end, WR_E_NET_UNREACHABLE, "The head of the endpoint's answer has more than 64 KB");
	else
		say(end, WR_E_NET_UNREACHABLE, "The endpoint does not answer in HTTP");
}

void wr_post_explain(struct wr_post_end *end, CURL *e, CURLcode result, const struct wr_curl_guard *guard,
		     size_t head_len)
{
	if (guard->refused) {
		say(end, WR_E_NET_REFUSED, "The endpoint's address is not public: this server may not connect to it");
		return;
	}
	switch (result) {
	case CURLE_COULDNT_RESOLVE_HOST:
		say(end, WR_E_NET_UNREACHABLE, "The name of the endpoint's host cannot be resolved");
		break;
	case CURLE_COULDNT_CONNECT:
		say(end, WR_E_NET_UNREACHABLE, no_connection(e, guard));
		break;
	case CURLE_OPERATION_TIMEDOUT:
		timed_out(end, e);
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
		say(end, WR_E_NET_UNREACHABLE, bad_certificate(e));
		break;
	case CURLE_SSL_CONNECT_ERROR:
		say(end, WR_E_NET_UNREACHABLE, "No TLS connection comes about with the endpoint");
		break;
	case CURLE_SSL_CACERT_BADFILE:
		say(end, WR_E_NET_UNREACHABLE, "This server's file of trusted certificates cannot be used");
		break;
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_PARTIAL_FILE:
		say(end, WR_E_NET_UNREACHABLE, "The connection broke off before the endpoint had answered");
		break;
	case CURLE_WRITE_ERROR:
		ended_by_us(end, head_len);
		break;
	case CURLE_LOGIN_DENIED:
	case CURLE_URL_MALFORMAT:
		say(end, WR_E_NET_UNREACHABLE, "The endpoint's URL cannot be used");
		break;
	case CURLE_OUT_OF_MEMORY: /* which is what a header of 100 KB is to it */
		say(end, WR_E_NET_UNREACHABLE, "A header of the endpoint's answer is too long");
		break;
	default:
		/* Version 0.9, a status line or chunks that are none; and an end without any answer. */
		say(end, WR_E_NET_UNREACHABLE, "The endpoint does not answer in HTTP");
	}
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int64_t seconds_to_date(struct wr_str value, int64_t now_s)
{
	char text[64];
	time_t date;

	/* HTTP's three forms begin with the name of a day; libcurl reads those, and much else. */
	if (value.len >= sizeof text || !((value.ptr[0] | 0x20) >= 'a' && (value.ptr[0] | 0x20) <= 'z'))
		return -1;
	memcpy(text, value.ptr, value.len);
	text[value.len] = '\0';
	date = curl_getdate(text, NULL);
	if (date == -1)
		return -1;
	if (date <= now_s)
		return 0;
	return date - now_s < WR_POST_RETRY_AFTER_MAX ? date - now_s : WR_POST_RETRY_AFTER_MAX;
}

int64_t wr_post_retry_after(struct wr_str value, int64_t now_s)
{
	uint64_t seconds;
	size_t digits = 0;

	if (value.len == 0)
		return -1;
	while (digits < value.len && is_digit(value.ptr[digits]))
		digits++;
	if (digits < value.len)
		return seconds_to_date(value, now_s);
	return wr_str_u64(value, (uint64_t)WR_POST_RETRY_AFTER_MAX, &seconds) ? (int64_t)seconds :
										WR_POST_RETRY_AFTER_MAX;
}
