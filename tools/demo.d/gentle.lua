-- SPDX-License-Identifier: GPL-2.0-only
-- wrk asks again as soon as it has an answer, which on a small machine leaves no time for anybody
-- else: let each connection think for a moment.
function delay()
	return math.random(20, 60)
end
