'use strict';
// Findings, steps and the verdict: spec/09-result-codes.md.

const { Refusal } = require('./refusal');

class Report {
  constructor() {
    this.findings = [];
  }

  add(step, code, status, message = '') {
    this.findings.push({ step, code, status, message });
  }

  failed() {
    return this.findings.some((finding) => finding.status === 'failed');
  }

  /** Runs `action`; a refusal becomes a finding of `step` that failed. Returns what `action` returns, or undefined. */
  attempt(step, action) {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof Refusal) || error.outside) throw error;
      this.add(step, error.code, 'failed', error.message);
      return undefined;
    }
  }

  status(step) {
    const statuses = this.findings.filter((finding) => finding.step === step).map((finding) => finding.status);
    return ['failed', 'inconclusive', 'passed'].find((status) => statuses.includes(status)) ?? 'skipped';
  }

  /** BC-RES-05, where `wanted` are the steps that the policy requires or the caller asked for. */
  verdict(required, asked) {
    if (this.failed()) return 'rejected';
    const wanted = [...required, ...asked];
    if (required.length > 0 && wanted.every((step) => this.status(step) === 'passed')) return 'accepted';
    return 'indeterminate';
  }

  codes(...statuses) {
    const codes = this.findings.filter((finding) => statuses.includes(finding.status)).map((finding) => finding.code);
    return [...new Set(codes)].sort();
  }
}

module.exports = { Report };
