'use strict';
// Times: spec/03-numbers.md, BC-NUM-09.

const { refuse } = require('./refusal');

/** Seconds since 1970 of a time. */
function parseTime(text) {
  const match = /^([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z$/.exec(text);
  if (!match) refuse('time.grammar', text);
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number);
  const milliseconds = Date.UTC(year, month - 1, day, hour, minute, second);
  if (year < 1970 || new Date(milliseconds).toISOString() !== `${text.slice(0, -1)}.000Z`) refuse('time.calendar', text);
  return milliseconds / 1000;
}

module.exports = { parseTime };
