/* What fails again and again, as all writing does on a full disk, is a line of the log when it begins and one when it ends. */
#include "core/base/log.h"
#include "triggers/sender_internal.h"

void wr_setback_met(struct wr_setback *setback, const struct wr_error *err)
{
	if (setback->code != err->code)
		wr_log_error(NULL, WR_EV_WEBHOOK_FAILED, err);
	setback->code = err->code;
	setback->times++;
}

void wr_setback_over(struct wr_setback *setback)
{
	if (setback->times > 1)
		WR_LOG(WR_INFO, NULL, WEBHOOK_WORKS, WR_STR("code", wr_code_wire(setback->code)),
		       WR_INT("times", setback->times));
	*setback = (struct wr_setback){.code = WR_OK};
}
