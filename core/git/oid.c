#include "core/git/oid.h"

const char *wr_type_name(enum wr_type type)
{
	switch (type) {
	case WR_COMMIT:
		return "commit";
	case WR_TREE:
		return "tree";
	case WR_BLOB:
		return "blob";
	case WR_TAG:
		return "tag";
	}
	return "unknown";
}
