/* The names apart, for who has the list and not the store. */
#include "core/git/due.h"

static const char *const names[WR_DUE_WHYS] = {
	[WR_DUE_NOT] = "",
	[WR_DUE_JOURNALS] = "journals",
	[WR_DUE_REWOUND] = "rewound",
	[WR_DUE_CRUFT] = "cruft",
	[WR_DUE_BASE] = "base",
	[WR_DUE_REDELTA] = "redelta",
	[WR_DUE_LOOK] = "look",
};

const char *wr_due_name(enum wr_due_why why)
{
	return names[why];
}

enum wr_due_why wr_due_named(struct wr_str name)
{
	for (size_t i = 0; i < WR_DUE_WHYS; i++)
		if (wr_str_eqz(name, names[i]))
			return (enum wr_due_why)i;
	return WR_DUE_LOOK;
}
